"""A local optimum: the loop with its turns of ideas leaves it, the same model that only goes on near the best stays.

The model is scripted and obedient: it reads in the prompt which kind of idea is due, and proposes one of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, count

import pytest

from experiments.loop import actions, asking
from experiments.researcher.base import Context, Message, Piece, Text, Usage
from experiments.states import State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]
DUE = re.compile(r"^# What is due: (\w+)$", re.M)
LEFT_WITHIN = 10  # experiments after the optimum was reached


class Obedient:
    """Tunes MATRIX_LR towards 0.08 and around it; asked for another theme, it takes the next of its list."""

    label, can_repair, reads_prompt = "obedient", False, True
    context_tokens: int | None = None

    def __init__(self) -> None:
        around = (0.08 + sign * step / 1000 for step in count(3, 2) for sign in (1, -1))
        self.steps = chain([0.06, 0.08], around)
        self.themes = (theme for n in count(1) for theme in (("DROPOUT", n / 10), ("CLIP", 1.0 + n)))
        self.due: list[str] = []

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        due = DUE.search(messages[1].content)
        assert due is not None
        self.due.append(due[1])
        source = context.files["train.py"]
        yield Text(self._edit(due[1], source))
        yield Usage(10, 5, None)

    def _edit(self, due: str, source: str) -> str:
        name, value = ("MATRIX_LR", round(next(self.steps), 4)) if due in {"exploit", "simplify"} else next(self.themes)
        if due == "rethink":  # from an older keep: a road that was not taken there
            name, value = "WINDOW", 2
        line = re.search(rf"^{name} = .*$", source, re.M)
        assert line is not None
        return f"IDEA: {name} {value}\n\ntrain.py\n<<<<<<< SEARCH\n{line[0]}\n=======\n{name} = {value}\n>>>>>>> REPLACE\n"


def night(make_script_program, loop, monkeypatch, *, forced: str, experiments: int) -> tuple[list[float], list[str]]:
    """Best score after each experiment, and what was due."""
    model = Obedient()
    monkeypatch.setattr(asking, "choose", lambda *args, **kwargs: model)
    run = actions.start_run(make_script_program("valley", name=forced or "turns", budget_seconds=1), "night", by="ada")
    if forced:
        run.force_strategy(forced, by="ada")
    rows = loop.finish(run, experiments)
    best, seen = float("inf"), []
    for row in rows:
        best = min(best, row.score or best)
        seen.append(best)
    print(f"\n{forced or 'by the results'}: " + " ".join(f"{score:.3f}" for score in seen))
    print("due: " + " ".join(model.due))
    assert run.best is not None and run.best.score == best
    return seen, model.due


def test_a_local_optimum_is_left_by_the_change_of_mode_and_the_greedy_loop_stays(make_script_program, loop, monkeypatch):
    best, due = night(make_script_program, loop, monkeypatch, forced="", experiments=3 + LEFT_WITHIN)
    reached = best.index(1.0)  # MATRIX_LR 0.08: from here every change of the best is worse
    assert reached == 2 and best[-1] < 0.75, "the optimum was not left"
    left = next(number for number, score in enumerate(best) if score < 0.9)
    assert left - reached <= LEFT_WITHIN
    assert due[:9] == ["exploit"] * 5 + ["explore"] * 3 + ["rethink"]

    greedy, due = night(make_script_program, loop, monkeypatch, forced="exploit", experiments=3 + LEFT_WITHIN)
    assert set(due) == {"exploit"} and greedy[-1] == 1.0


def test_the_winner_stands_on_the_older_keep(make_script_program, loop, monkeypatch):
    obedient = Obedient()
    monkeypatch.setattr(asking, "choose", lambda *args, **kwargs: obedient)
    run = actions.start_run(make_script_program("valley", budget_seconds=1), "night", by="ada")
    loop.until(run, lambda: run.best is not None and (run.best.score or 9) < 0.9)
    assert run.best.parent.number < 2 and run.experiments.get(number=2).state == State.REVERTED
