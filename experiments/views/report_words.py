"""The sentences of a report: the headline, the noise, and what to do next. Plain text, for HTML and Markdown alike."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from experiments.models.text import Text, listed
from experiments.report import Report
from experiments.report_rows import Row
from experiments.states import Badge, Kind, RunState, State
from experiments.templatetags.research import FAILURES, compact, cost_words, duration, gain, reason_words, score

OFTEN = 0.2  # of all experiments: a failure that is worth a word to the researcher


@dataclass(frozen=True)
class Step:
    """One thing to do next: `text`, then a link where there is a page for it."""

    text: str
    url: str = ""
    link: str = ""
    urgent: bool = False


def numbers(rows: list[Row], most: int = 6) -> str:
    """#3, #7 and 2 more"""
    named = ", ".join(f"#{row.number}" for row in rows[:most])
    return f"{named} and {len(rows) - most} more" if len(rows) > most else named


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def headline(report: Report) -> str:
    """One sentence: what was gained, over how many experiments, hours and dollars."""
    first = _outcome(report)
    if report.run.is_active and report.tiles.total:
        first = f"So far: {first[0].lower() if first[1:2].islower() else first[0]}{first[1:]}"
    return f"{first}{_spent(report)}."


def _outcome(report: Report) -> str:
    metric, best, baseline = report.run.program.metric, report.best, report.baseline
    if not report.tiles.total:
        return "Nothing has been tried yet"
    if best is None or best.score is None:
        return "No experiment has a score yet" if report.tiles.live else "No experiment has a score"
    if baseline is None:
        return f"{metric} is {score(best.score)}, and there is no baseline to compare it with"
    if best is baseline or not report.gain or report.gain <= 0:
        return f"Nothing beat the baseline's {metric} of {score(baseline.score)}" if _ideas(report) else (
            f"The baseline's {metric} is {score(baseline.score)}; no idea has been tried yet"
        )
    change = gain(report.tiles.gain_percent, report.run.program.lower_is_better) if report.tiles.gain_percent else ""
    return f"{metric} went from {score(baseline.score)} to {score(best.score)}" + (f" ({change})" if change else "")


def _ideas(report: Report) -> int:
    return sum(theme.tried for theme in report.themes)


def _spent(report: Report) -> str:
    if not report.tiles.total:
        return ""
    parts = [f" over {_many(report.tiles.done, 'experiment')}"]
    if report.times.wall_seconds:
        parts.append(f"in {duration(report.times.wall_seconds)}")
    if report.tiles.cost:
        parts.append(f"for {cost_words(report.tiles)}")
    elif report.tiles.tokens:
        parts.append(f"for {compact(report.tiles.tokens)} tokens (price not known)")
    return ", ".join(parts)


def verdict(report: Report) -> str:
    """Whether the gain is real, as far as it is known. "" where there is none."""
    if report.gain is None or report.gain <= 0:
        return ""
    if report.needed is None:
        return "Whether that is more than luck is not known: the seed noise was not measured."
    size = f"{report.gain:.6f} gained, and {report.needed:.6f} can be luck"
    if report.is_within_noise:
        return f"That is within noise: {size}."
    doubtful = len(report.doubtful)
    single = f" Taken alone, {doubtful} of {_many(len(report.keeps), 'keep')} may be luck." if doubtful else ""
    return f"That is more than noise: {size}.{single}"


def noise(report: Report) -> str:
    """What is known of the seed noise, and how to know it."""
    if report.sigma is not None and report.needed is not None:
        return (
            f"Seed noise: sigma {report.sigma:.6f}, from repeated trainings of one commit in this run. Two trainings of the "
            f"same code differ by {report.needed:.6f} or more, to the good side, in one case of twenty."
        )
    text = "Seed noise: not known. Repeat the baseline 3 times to know it; until then a small gain may be luck."
    if report.known_sigma is not None:
        program = report.run.program
        text += (
            f" The {program.preset} preset at {program.budget_seconds} s had {report.known_sigma:.3f} on the machine of "
            "docs/trainer.md; nothing here is judged by it."
        )
    return text


def next_steps(report: Report) -> list[Step]:
    """What needs a person first, then what would make the next night better."""
    run_url = reverse("run", args=[report.run.pk])
    steps = [_waits(row) for row in report.waiting]
    steps += _of_run(report, run_url)
    steps += _of_scores(report)
    steps += _of_failures(report, run_url)
    if report.open_ideas:
        steps.append(Step(f"{_many(report.open_ideas, 'idea')} still in the queue.", run_url, "See the queue"))
    return steps


def _waits(row: Row) -> Step:
    wanted = "approve or reject its diff" if row.state == State.REVIEWING else "keep or reject it"
    text = f"#{row.number} waits for you: {wanted}. {row.name}"
    return Step(text, reverse("experiment", args=[row.pk]), "Decide", urgent=True)


def _of_run(report: Report, run_url: str) -> list[Step]:
    run = report.run
    if run.source:
        text = "This run was imported and is a record. To go on from here, start a new run of its program."
        return [Step(text, reverse("program", args=[run.program_id]), "Open the program")]
    if run.state == RunState.PAUSED:
        why = run.detail or reason_words(run.reason) or "Paused by hand."
        return [Step(f"The run is paused. {why}", run_url, "Open the run", urgent=run.reason != "by_hand")]
    if run.state == RunState.ENDED:
        why = f"The run has ended. {run.detail or reason_words(run.reason)}".strip()
        return [Step(why, run_url, "Raise its limits or resume")]
    return []


def _of_scores(report: Report) -> list[Step]:
    steps = []
    doubtful = [keep.row for keep in report.doubtful]
    if doubtful:
        text = f"{numbers(doubtful)} may be luck: take one back, or go on and let later gains show."
        steps.append(Step(text, reverse("experiment", args=[doubtful[-1].pk]), f"Look at #{doubtful[-1].number}"))
    strange = [keep.row for keep in report.keeps if Badge.IMPLAUSIBLE in keep.row.badges]
    if strange:
        text = f"{numbers(strange)} gained more than seems possible: read the diff before you believe it."
        steps.append(Step(text, reverse("experiment", args=[strange[0].pk]), f"Read #{strange[0].number}"))
    if report.sigma is None and report.keeps and report.baseline is not None and not report.run.source:
        text = "Repeat the baseline 3 times with other seeds: then this page can tell gains from noise."
        steps.append(Step(text, reverse("experiment", args=[report.baseline.pk]), f"To #{report.baseline.number}"))
    return steps


def _of_failures(report: Report, run_url: str) -> list[Step]:
    """What the researcher should hear before the next night."""
    if report.run.source:
        return []
    steps = []
    tried, done = sum(theme.tried for theme in report.dead_ends), report.tiles.done
    if tried >= 5:
        named = ", ".join(theme.name for theme in report.dead_ends[:3])
        steps.append(Step(f"{tried} tries at {named} gave nothing: say where to look instead.", run_url, "Write a note"))
    for failed in report.failures[:1]:
        if failed.count >= 3 and failed.count > OFTEN * done:
            word = FAILURES.get(failed.reason, failed.reason.replace("_", " "))
            text = f"{failed.count} of {done} failed with “{word}”: say in program.md what to avoid."
            steps.append(Step(text, reverse("program", args=[report.run.program_id]), "Open program.md"))
    return steps


def text(report: Report) -> str:
    """What its scores are about."""
    last = report.run.experiments.exclude(exam={}).order_by("-number").values_list("exam", flat=True).first() or {}
    scored = Text.of(last)
    words = f"Scored on {scored}." if scored else ""
    if scored and last.get("earlier_text"):
        words += " New runs are scored on another text: their numbers cannot be compared with these."
    return f"{words} {_exams(report)}".strip()


def _exams(report: Report) -> str:
    """Where scores of two exams stand side by side."""
    if len(report.exams) < 2:
        return ""
    anew = numbers([row for row in report.kept if row.kind == Kind.REEXAMINED])
    steps = f" Where the best was examined anew, in {anew}, its score moved: no gain and no loss." if anew else ""
    return f"Exams {listed(report.exams)} gave its scores; those of two are not compared.{steps}"


def standing(report: Report) -> str:
    """What the run does now, in a word or two."""
    run = report.run
    if run.source:
        return "imported"
    if not run.is_active:
        return str(run.state)
    return f"still running, {_many(len(report.waiting), 'decision')} open" if report.waiting else "still running"
