"""A person's own edit: the same checks as a proposal, trained next, judged and refitted as any other."""

from __future__ import annotations

import pytest

from experiments.loop import actions, manual
from experiments.loop.workspace import Workspace
from experiments.models import Run
from experiments.states import Failure, Kind, RunState, State, StateError
from tests.factories import make_experiment
from tests.loop.conftest import look, ready
from tests.loop.scripted import change

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(make_script_program, loop, answers) -> Run:
    answers(change("DECAY", 0.5))
    run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada")
    loop.baseline(run)
    return run


def text_of(run: Run, old: str = "MATRIX_LR = 0.04", new: str = "MATRIX_LR = 0.09") -> dict[str, str]:
    return {path: text.replace(old, new) for path, text in manual.start(run, None).texts.items()}


def submit(run: Run, texts: dict[str, str], **options):
    options = {"parent": run.best, "description": "Hotter", "hypothesis": "It was too cold.", "by": "ada", **options}
    return manual.submit(run, texts, **options)


def test_the_editor_starts_with_the_best(run):
    start = manual.start(run, None)
    assert (start.best, start.word, list(start.files)) == (run.best, "", ["train.py"])
    assert start.texts == start.files and "MATRIX_LR = 0.04" in start.files["train.py"]


def test_an_edit_is_committed_trained_and_kept(run, loop):
    made = submit(run, text_of(run))
    git = Workspace(run.program.repo)
    assert (made.kind, made.state, made.parent, made.hypothesis) == (Kind.MANUAL, State.READY, run.best, "It was too cold.")
    assert git.ref(made.ref) == made.commit
    assert "+MATRIX_LR = 0.09" in made.diff
    assert run.moves.filter(by="ada", new=f"#{made.number} created", why="Hotter").exists()
    loop.until(run, lambda: run.best == made)
    assert git.ref(f"refs/heads/{run.branch}") == made.commit


def test_it_is_trained_before_an_idea_that_waits(run):
    idea = ready(run)
    made = submit(run, text_of(run))
    assert idea.number < made.number
    assert [pk for stage, pk in look(run) if stage == "train"] == [made.pk]


def test_paused_it_waits_until_the_run_is_resumed(run, loop):
    run.pause(by="ada", now=False)
    made = submit(run, text_of(run))
    assert look(run) == []
    run.resume(by="ada")
    loop.until(run, lambda: run.best == made)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def f(:\n", "is no Python after the edit: line 1"),
        ("LR = 1\0\n", "NUL"),
        ("x" * 1_000_001, "at most 1,000,000"),
        ("LR = '\ud800'\n", "UTF-8"),
    ],
)
def test_a_text_that_cannot_be_tried_adds_nothing(run, text, why):
    with pytest.raises(StateError, match=why):
        submit(run, {"train.py": text})
    assert run.experiments.filter(kind=Kind.MANUAL).count() == 0


def test_a_text_without_a_change_adds_nothing(run):
    with pytest.raises(StateError, match="Nothing is changed yet"):
        submit(run, {path: text.replace("\n", "\r\n") for path, text in text_of(run, "", "").items()})


@pytest.mark.parametrize("path", ["program.md", "prepare.py", "../train.py", "/etc/passwd"])
def test_only_editable_files_can_be_edited(run, path):
    with pytest.raises(StateError):
        submit(run, {path: "LR = 1\n"})
    assert run.experiments.filter(kind=Kind.MANUAL).count() == 0


def test_a_double_click_adds_one(run):
    submit(run, text_of(run))
    with pytest.raises(StateError, match="The same edit waits already, as #"):
        submit(run, text_of(run))
    assert run.experiments.filter(kind=Kind.MANUAL).count() == 1


def test_a_much_shorter_file_is_what_a_person_wants(run):
    assert submit(run, {"train.py": "print('val_bpb: 1.0')\n"}).state == State.READY


def test_a_file_keeps_its_windows_line_ends(run):
    git = Workspace(run.program.repo)
    crlf = git.read(run.best.commit, ["train.py"])["train.py"].replace("\n", "\r\n")
    best = make_experiment(run, State.KEPT, 0.5, number=50, commit=git.commit(run.best.commit, {"train.py": crlf}, "CRLF"))
    made = submit(run, text_of(run), parent=best)
    assert made.lines_changed == (1, 1)
    assert git.read(made.commit, ["train.py"])["train.py"].count("\r\n") == crlf.count("\r\n")


def kept_meanwhile(run, old: str, new: str):
    git = Workspace(run.program.repo)
    text = git.read(run.best.commit, ["train.py"])["train.py"].replace(old, new)
    commit = git.commit(run.best.commit, {"train.py": text}, "Meanwhile")
    return make_experiment(run, State.KEPT, run.best.score - 1e-9, number=50, commit=commit)


def test_where_the_best_has_moved_the_change_is_put_on_top_of_it(run, loop):
    parent, texts = run.best, text_of(run)
    other = kept_meanwhile(run, "sys.exit(0)", "sys.exit(0)  # kept meanwhile")
    made = submit(run, texts, parent=parent)
    loop.until(run, lambda: run.best == made)
    made.refresh_from_db()
    assert made.parent == other
    trained = Workspace(run.program.repo).read(made.commit, ["train.py"])["train.py"]
    assert "MATRIX_LR = 0.09" in trained and "# kept meanwhile" in trained


def test_a_change_that_does_not_fit_the_moved_best_fails_and_says_so(run, loop):
    parent, texts = run.best, text_of(run)
    other = kept_meanwhile(run, "MATRIX_LR = 0.04", "MATRIX_LR = 0.05")
    made = submit(run, texts, parent=parent)
    loop.until(run, lambda: run.experiments.get(pk=made.pk).state == State.FAILED)
    made.refresh_from_db()
    assert (made.reason, f"the best is now #{other.number}" in made.detail) == (Failure.BAD_PATCH, True)


def test_from_a_discarded_experiment_its_change_is_put_on_the_best(run):
    base, git = run.best, Workspace(run.program.repo)
    text = git.read(base.commit, ["train.py"])["train.py"]
    commit = git.commit(base.commit, {"train.py": "# tried\n" + text}, "Tried")
    tried = make_experiment(run, State.DISCARDED, 9.0, number=40, parent=base, commit=commit)
    assert manual.start(run, tried).texts["train.py"].startswith("# tried\n")
    best = kept_meanwhile(run, text[-40:], text[-40:] + "\n# kept\n")
    start = manual.start(run, tried)
    assert start.texts["train.py"].startswith("# tried\n") and start.texts["train.py"].endswith("\n# kept\n")
    assert f"put on the best, #{best.number}" in start.word


def test_from_an_older_keep_the_word_says_what_it_takes_back(run):
    older = run.best
    kept_meanwhile(run, "MATRIX_LR = 0.04", "MATRIX_LR = 0.05")
    start = manual.start(run, older)
    assert "MATRIX_LR = 0.04" in start.texts["train.py"] and "MATRIX_LR = 0.05" in start.files["train.py"]
    assert "takes back what was kept since" in start.word


def test_from_a_change_that_does_not_fit_its_own_files_are_shown(run):
    base, git = run.best, Workspace(run.program.repo)
    text = git.read(base.commit, ["train.py"])["train.py"].replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.07")
    tried = make_experiment(
        run, State.DISCARDED, 9.0, number=40, parent=base, commit=git.commit(base.commit, {"train.py": text}, "Tried")
    )
    kept_meanwhile(run, "MATRIX_LR = 0.04", "MATRIX_LR = 0.05")
    start = manual.start(run, tried)
    assert "MATRIX_LR = 0.07" in start.texts["train.py"] and "does not fit the best of now" in start.word


def test_an_ended_an_imported_and_an_unscored_run_refuse_with_one_line(run, make_script_program):
    texts, parent = text_of(run), run.best
    fresh = actions.start_run(make_script_program("score", name="fresh"), "first", by="ada")
    run.stop(by="ada")
    assert run.state == RunState.ENDED
    imported = Run.objects.create(program=run.program, tag="imported", source="/some/clone", base_commit="0" * 40)
    for refusing, why in ((run, "has ended"), (imported, "imported run"), (fresh, "baseline is not scored")):
        with pytest.raises(StateError, match=why):
            submit(refusing, texts, parent=parent)
        with pytest.raises(StateError, match=why):
            manual.start(refusing, None)


def test_files_that_are_not_in_the_repository_are_named(run):
    assert manual.missing(run.program, ["train.py", "trian.py"]) == ["trian.py"]
