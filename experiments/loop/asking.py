"""How an idea is got: whom to ask, what is due, and the asking itself until the edit can be used."""

from __future__ import annotations

from dataclasses import replace

from experiments import planning
from experiments.loop import preflight, sweeping
from experiments.loop.agents import agent_of
from experiments.loop.errors import LimitReached, StageError
from experiments.loop.gate import Duplicate, Gate
from experiments.loop.lease import Lease
from experiments.loop.llm_settings import llm_settings, prices_by_hand
from experiments.loop.proposing import ReplyWriter
from experiments.models import Experiment, Program
from experiments.researcher.base import Context, Proposal, Researcher
from experiments.researcher.choose import choose
from experiments.researcher.command import CommandResearcher
from experiments.researcher.edits import EditError, apply_edits, parse_reply
from experiments.researcher.prompt import Prompt, build_prompt
from experiments.researcher.sameness import Change, change_between
from experiments.researcher.strategy import Plan
from experiments.states import LIVE, Failure, Kind

EDIT_REPAIRS = 3  # how often a malformed edit goes back with the parser's error


def researcher_of(program: Program, kind: str = "") -> Researcher:
    """The program's researcher, or one of another kind. Raises ResearcherError where its settings do not do."""
    return choose(
        kind or program.researcher, model=program.model, api_base=program.api_base, fallbacks=program.fallbacks,
        by_hand=prices_by_hand(program), shared=llm_settings(), agent=agent_of(program),
    )


def what_is_due(experiment: Experiment, researcher: Researcher) -> tuple[Plan, Experiment]:
    """The plan, and the experiment to build on: the best, or an older keep to branch from."""
    run = experiment.run
    parent = run.best or experiment.parent
    assert parent is not None, "an idea is created on the baseline"
    under_way = run.experiments.filter(state__in=LIVE, kind=Kind.IDEA, number__lt=experiment.number)
    plan = planning.plan_for(run, under_way=under_way.count())
    if plan.parent is not None and not experiment.subject and researcher.reads_prompt:
        return plan, run.experiments.get(number=plan.parent)
    return plan, parent


def ask(
    experiment: Experiment, context: Context, researcher: Researcher, writer: ReplyWriter, lease: Lease
) -> tuple[Proposal, dict[str, str], Change]:
    """The proposal, the changed files and what changes; an edit that cannot be used goes back with the reason."""
    prompt, gate = build_prompt(context), Gate(experiment, warns=researcher.can_repair)
    repairs = EDIT_REPAIRS if researcher.can_repair else 0
    if isinstance(researcher, CommandResearcher):
        prompt, repairs = replace(prompt, messages=researcher.phrase(prompt.messages, context)), researcher.repairs
    store_prompt(experiment, prompt)
    if researcher.reads_prompt:
        experiment.run.notes.filter(read_by=None, text__in=context.notes).update(read_by=experiment)
    for repairs_left in range(repairs, -1, -1):
        if spent := experiment.run.spent():
            raise LimitReached(f"{spent[1]} The researcher was not asked.")
        text = ""
        try:
            text = writer.take(researcher.reply(prompt.messages, context))
            lease.check()
            proposal = writer.proposal or parse_reply(text, context.files.keys())
            proposal = sweeping.settled(proposal, experiment, researcher, context)
            files = apply_edits(context.files, proposal.edits)
            if not researcher.reads_prompt:  # the sweep tries a value again on purpose, on another best
                return proposal, files, change_between(context.files, files)
            branches_from = context.best_number if context.goal_number is not None else None
            is_sweep = proposal.sweep is not None
            change = gate.check(context.files, files, is_sweep=is_sweep, branches_from=branches_from)
            preflight.check(experiment, context, proposal, files, lease.check)
            return proposal, files, change
        except EditError as error:
            if not repairs_left:
                raise StageError(_reason(error), str(error)) from error
            experiment.store(change_key="", whole_key="")  # of what the gate had let pass
            writer.say(f"The edit could not be used: {error} Asked again, {repairs_left} left.")
            prompt = prompt.again(text, str(error))
            store_prompt(experiment, prompt)
    raise AssertionError("unreachable")


def _reason(error: EditError) -> Failure:
    if isinstance(error, preflight.Refused):
        return Failure.PREFLIGHT
    return Failure.DUPLICATE if isinstance(error, Duplicate) else Failure.BAD_PATCH


def store_prompt(experiment: Experiment, prompt: Prompt) -> None:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    experiment.store(
        prompt=messages, prompt_cut=list(prompt.cut), prompt_limit=prompt.limit, brief=experiment.brief
    )
