"""A person asks the model about the result of one experiment; the answer is kept with it."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from experiments import events
from experiments.loop import told
from experiments.loop.account import Account
from experiments.loop.asking import researcher_of
from experiments.loop.proposing import build_context
from experiments.models import Experiment, Program
from experiments.researcher.base import Called, ResearcherError, Restart, Text, Usage
from experiments.researcher.explain import build_question
from experiments.states import LIVE, State, StateError
from trainer.output import strip_controls

MOST = 20  # questions about one experiment
LOG_TAIL = 3000  # characters
MAX_ANSWER = 20_000  # characters that are kept of an answer


def ask(experiment: Experiment, question: str, *, by: str) -> int:
    """Note the question; returns its place. Raises StateError where nobody could answer it."""
    run = experiment.run
    if experiment.state in LIVE:
        raise StateError(f"#{experiment.number} is not finished: there is no result to explain yet.")
    if run.program.researcher != Program.Researcher.LITELLM:
        raise StateError("Only an LLM can explain a result: choose one on the program page, under Researcher.")
    if spent := run.spent():
        raise StateError(f"{spent[1]} Raise the limit first, then ask again.")
    with transaction.atomic():
        row = Experiment.objects.select_for_update(no_key=True).get(pk=experiment.pk)
        if len(row.explanations) >= MOST:
            raise StateError(f"{MOST} questions about #{row.number} are answered already.")
        at = timezone.now().isoformat()
        row.explanations = [*row.explanations, {"question": question, "by": by, "at": at, "text": "", "error": ""}]
        row.save(update_fields=["explanations"])
        run.record(by, f"#{row.number} to be explained", why=question)
    return len(row.explanations) - 1


def answer(experiment_id: int, place: int) -> None:
    """Ask the model. A question that is answered, or that is not there, costs nothing."""
    experiment = Experiment.objects.select_related("run__program", "parent", "brief").get(pk=experiment_id)
    if place >= len(experiment.explanations) or _is_answered(experiment.explanations[place]):
        return
    try:
        text, error = _asked(experiment, experiment.explanations[place]["question"]), ""
    except ResearcherError as failed:
        text, error = "", f"{failed} Then ask again."
    with transaction.atomic():
        row = Experiment.objects.select_for_update(no_key=True).get(pk=experiment_id)
        row.explanations[place] |= {"text": text[:MAX_ANSWER], "error": error, "model": experiment.run.program.model}
        row.save(update_fields=["explanations"])
        events.changed(row.run_id, "experiment", row.pk)


def _is_answered(one: dict[str, Any]) -> bool:
    return bool(one["text"] or one["error"])


def _asked(experiment: Experiment, question: str) -> str:
    parent = experiment.parent or experiment
    context = build_context(experiment, parent)
    log = told.log_tail(experiment, LOG_TAIL)
    past = next((one for one in context.history if one.number == experiment.number), None)
    messages = build_question(context, past, log if experiment.state == State.FAILED else "", question)
    text, account = "", Account(experiment)
    for piece in researcher_of(experiment.run.program).reply(messages, context):
        match piece:
            case Text():
                text += piece.text
            case Restart():
                text = ""
            case Called():
                account.begin(piece)
            case Usage():
                account.settle(piece)
    return strip_controls(text).strip()
