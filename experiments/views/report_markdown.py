"""The report as Markdown: for a note, an issue or a chat. What an LLM or a person wrote cannot break out of its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from django.urls import reverse
from django.utils import timezone

from experiments import preflights
from experiments.report import Keep, Report
from experiments.report_rows import Row
from experiments.templatetags.research import FAILURES, compact, cost_words, delta, duration, money, score
from experiments.templatetags.texts import calm
from experiments.views import report_words
from experiments.views.report_words import numbers

Absolute = Callable[[str], str]  # a path to a full address
DIFF_LINES = 60
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~!$])")  # "#12" of ours is written after this
_LISTS = re.compile(r"(\d*)([-+=.)])")  # at the start of a line: an item of a list, or a heading's underline
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def plain(text: str, most: int = 300) -> str:
    """One line of text that Markdown shows as it is."""
    line = " ".join(calm(text).split())
    escaped = _SPECIAL.sub(r"\\\1", line if len(line) <= most else f"{line[: most - 1]}…")
    return _LISTS.sub(r"\1\\\2", escaped, count=1) if _LISTS.match(escaped) else escaped


def fence(text: str, most: int = DIFF_LINES) -> str:
    """A diff as a block of code; its fence is longer than any in the text."""
    lines = _CONTROL.sub("", text).rstrip().split("\n")
    shown = "\n".join(lines[:most])
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    left = f"\n{len(lines) - most} more lines are not shown.\n" if len(lines) > most else ""
    return f"{ticks}diff\n{shown}\n{ticks}\n{left}"


def markdown(report: Report, absolute: Absolute) -> str:
    """`absolute` makes a full address of a path of this site."""
    parts = [
        _head(report, absolute), _keeps(report, absolute), _near(report), _themes(report), _failures(report), _cost(report),
        _times(report), _next(report, absolute),
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _link(row: Row, absolute: Absolute) -> str:
    return f"[#{row.number}]({absolute(reverse('experiment', args=[row.pk]))})"


def _head(report: Report, absolute: Absolute) -> str:
    run = report.run
    at = timezone.localtime(report.at)
    where = f"Imported from {plain(run.source)}. " if run.source else ""
    url = absolute(reverse("run", args=[run.pk]))
    lines = [
        f"# {plain(run.program.name)} / {plain(run.tag)}",
        f"**{plain(report_words.headline(report))}** {plain(report_words.verdict(report))}".strip(),
        plain(report_words.noise(report), 1000),
        plain(report_words.text(report)),
        f"{where}As of {at:%Y-%m-%d %H:%M %Z}, {report_words.standing(report)}. Run: <{url}>",
    ]
    return "\n\n".join(filter(None, lines))


def _keeps(report: Report, absolute: Absolute) -> str:
    if not report.keeps:
        return "## What is real\n\nNothing was kept beyond the baseline."
    parts = ["## What is real"]
    head = ("#", plain(report.run.program.metric), "against its parent", "claim", "idea")
    parts.append(_table(head, (_keep_line(keep, absolute) for keep in report.keeps)))
    parts += [_keep_text(keep) for keep in report.keeps]
    if report.reverted:
        parts.append(f"Kept once, then taken back: {numbers(report.reverted, 12)}.")
    return "\n\n".join(parts)


def claim(keep: Keep) -> str:
    noise = {"within": "within noise", "beyond": "more than noise"}.get(keep.noise, "")
    secret = "worse on the secret text" if keep.secret_gain is not None and keep.secret_gain < 0 else ""
    return ", ".join(filter(None, [*keep.badges, noise, secret]))


def _keep_line(keep: Keep, absolute: Absolute) -> tuple[str, ...]:
    row = keep.row
    return _link(row, absolute), score(row.score), delta(keep.delta), claim(keep), plain(row.name, 120)


def _keep_text(keep: Keep) -> str:
    row = keep.row
    lines = [f"### \\#{row.number} {plain(row.name, 120)}"]
    lines += [plain(text, 600) for text in (keep.hypothesis, keep.says) if text]
    if row.commit:
        lines.append(f"Commit `{row.commit[:12].replace('`', '')}`")
    if keep.diff:
        lines.append(fence(keep.diff))
    return "\n\n".join(lines)


def _near(report: Report) -> str:
    if not report.near:
        return ""
    lines = [f"- \\#{miss.row.number} {delta(miss.delta)}: {plain(miss.row.name, 160)}" for miss in report.near]
    return "## Near misses\n\n" + "\n".join(lines)


def _themes(report: Report) -> str:
    if not report.themes:
        return ""
    rows = (
        (theme.name + (" (dead end)" if theme.is_dead else ""), str(theme.tried), str(theme.kept), str(theme.failed),
         delta(theme.best_delta), "; ".join(f"\\#{row.number} {plain(row.name, 60)}" for row in theme.shown[:4]))
        for theme in report.themes
    )  # fmt: skip
    return "## Dead ends and what paid, by theme\n\n" + _table(("theme", "tried", "kept", "failed", "best", "last"), rows)


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    rows = (
        (plain(FAILURES.get(failed.reason, failed.reason.replace("_", " "))), str(failed.count), duration(failed.seconds),
         plain(numbers(failed.shown)))
        for failed in report.failures
    )  # fmt: skip
    table = _table(("reason", "count", "device time lost", "experiments"), rows)
    rehearsals = preflights.count(report.run).line
    lost = f"Device time lost: {duration(report.lost_seconds)}."
    return f"## Failures\n\n{table}\n\n{lost}" + (f" {plain(rehearsals)}" if rehearsals else "")


def _cost(report: Report) -> str:
    tiles, times = report.tiles, report.times
    rows = [
        ("LLM cost", cost_words(tiles) if tiles.tokens or tiles.cost else "not known",
         money(tiles.cost_a_keep) if tiles.cost_a_keep else "—"),
        ("tokens", compact(tiles.tokens) if tiles.tokens else "not known", _each(report, tiles.tokens, compact)),
        ("device time", duration(times.device_seconds) if times.device_seconds else "not known",
         _each(report, times.device_seconds, duration)),
    ]  # fmt: skip
    return "## What a gain cost\n\n" + _table(("", "in all", "per kept idea"), rows)


def _each(report: Report, total: float, words: Callable[[float | None], str]) -> str:
    each = report.per_keep(total)
    return "—" if each is None else words(each)


def _times(report: Report) -> str:
    tiles, times = report.tiles, report.times
    if times.wall_seconds is None:
        return "## Time\n\nNot recorded: nothing trained here."
    facts = [
        f"From the first training: {duration(times.wall_seconds)}, of it paused {duration(times.rest_seconds)}.",
        f"Device idle: {'—' if tiles.idle_percent is None else f'{tiles.idle_percent:.1f} %'} of the active time.",
        f"Trainings an hour: {'—' if tiles.an_hour is None else f'{tiles.an_hour:.1f}'}; typical training "
        f"{duration(times.typical_seconds)}.",
    ]
    if times.gap_before is not None and times.gap_seconds >= 30:
        facts.append(f"Longest gap: {duration(times.gap_seconds)}, before \\#{times.gap_before.number}.")
    return "## Time\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _next(report: Report, absolute: Absolute) -> str:
    steps = [
        f"- {plain(step.text, 600)}" + (f" [{step.link}]({absolute(step.url)})" if step.url else "")
        for step in report_words.next_steps(report)
    ]
    return "## What to do next\n\n" + ("\n".join(steps) or "Nothing waits for you.")
