"""Builds the prompt for an LLM from a Context. Pure. What has no room is cut by a stated priority, and the prompt says so.

Who gets room first is cut last:
 1. the rules, the task and what remains of the budget: always whole
 2. notes from people: all of them; an endless one is shortened, the oldest first
 3. each keep in a line, with number, delta and idea: never fewer
 4. the editable files, with line numbers; lines from the middle go first
 5. a crash to repair, then the queue of people's ideas
 6. the brief
 7. what kind of idea is due, how the last trainings went
 8. what was not kept, by theme; the newest experiments in a line each; the researcher's own list
 9. the diffs of the keeps, the newest first
10. the read-only files
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .base import Context, Message
from .prompt_history import keep_lines, newest, newest_lines, noise_line, with_diffs
from .prompt_ledger import by_theme, ledger_part
from .prompt_parts import crash_part, dynamics_part, files_part, ideas_part, notes_part, task_text
from .prompt_plan import plan_section
from .prompt_rules import RULES
from .prompt_text import fenced, shorten, size, tokens_of
from .room import Part, Room, bytes_of, prompt_tokens

MAX_FIXED_BYTES = 8_000
MAX_CUT_BYTES = 900
MAX_REPLY_BYTES = 9_000  # of a reply that goes back for repair
HEADINGS_BYTES = 1_600  # of all sections together, and the sentences below them

TAKE_FIRST = (
    "Take up the first idea now. If it is not worth an experiment, propose another one and say in HYPOTHESIS why not "
    "the first. The others come later; do not mix them in."
)


@dataclass(frozen=True)
class Prompt:
    messages: tuple[Message, ...]
    cut: tuple[str, ...]  # what was shortened or left out, in words
    limit: int  # tokens that it might have

    @property
    def tokens(self) -> int:
        """Estimated, rather too many than too few."""
        return sum(tokens_of(message.content) for message in self.messages)

    def again(self, reply: str, error: str) -> Prompt:
        """Asks for the same idea once more after EditError `error`. Only the last reply stays: the room is for the rest."""
        first = self.messages[:2]
        return replace(self, messages=(*first, Message("assistant", shorten(reply, MAX_REPLY_BYTES)), repair_message(error)))


def build_prompt(context: Context) -> Prompt:
    """System: the rules and the reply format. User: all that is known, shortened by priority, which it then says."""
    limit = prompt_tokens(context.context_tokens)
    task = task_text(context)
    room = Room(max(0, bytes_of(limit) - size(RULES) - size(task) - MAX_CUT_BYTES - HEADINGS_BYTES))
    notes = room.put(notes_part(context.notes, room.share(0.2)))
    keeps = room.put(keep_lines(context, room.share(0.25), most=room.share(0.7)))
    editable = room.put(files_part(context.files, room.share(0.55), editable=True))
    crash = room.put(crash_part(context.crash, room.share(0.1)))
    ideas = room.put(ideas_part(context.ideas, room.share(0.06), "ideas in the queue"))
    brief = room.put(_brief(context, room.share(0.25)))
    due = not (context.ideas or context.crash)
    plan = room.put(plan_section(context, room.share(0.08))) if due else ""
    dynamics = room.put(dynamics_part(context.dynamics, room.share(0.04)))
    shown = newest(context)
    tried = len([one for group in by_theme(context.history).values() for one in group if one.state != "kept"])
    ledger = room.put(ledger_part(context, room.share(0.16))) if tried > len(shown) else ""
    last = room.put(newest_lines(shown, context, room.share(0.08)))
    own = room.put(ideas_part(context.own_ideas, room.share(0.03), "ideas of your own")) if due else ""
    kept_size = size(keeps)
    fixed_bytes = min(MAX_FIXED_BYTES, sum(map(size, context.fixed_files.values())))
    with_diff = with_diffs(keeps, context, max(room.left - fixed_bytes, room.left * 3 // 4)) if keeps else Part()
    room.left += kept_size
    keeps = room.put(with_diff)
    fixed = room.put(files_part(context.fixed_files, min(room.left, 2 * MAX_FIXED_BYTES), editable=False))
    # What stays the same comes first, so that a provider's cache of prefixes can serve it.
    negative = "better" if context.lower_is_better else "worse"
    sections = [
        f"# Brief (version {context.brief_version})\n\n{brief}",
        f"# Read-only files\n\n{fixed}" if fixed else "",
        task,
        f"# Keeps, oldest first; a negative delta is {negative}\n\n{noise_line(context)}\n\n{keeps}" if keeps else "",
        f"# What was tried, by theme\n\n{ledger}" if ledger else "",
        f"# The newest that are no keeps, oldest first\n\n{last}" if last else "",
        f"# How trainings went\n\n{dynamics}" if dynamics else "",
        f"# Editable files, as of {_base(context)}\n\n{editable}",
        f"# Notes from people, newest last\n\n{notes}" if notes else "",
        f"# Queue of ideas from people, the next one first\n\n{ideas}\n\n{TAKE_FIRST}" if ideas else "",
        f"# Ideas that you listed earlier and did not use\n\n{own}" if own else "",
        crash,
        plan,
        _closing(context, room.cut),
    ]
    user = "\n\n".join(filter(None, sections))
    return Prompt((Message("system", RULES), Message("user", user)), tuple(room.cut), limit)


def repair_message(error: str) -> Message:
    """Asks for the same idea again after EditError `error`."""
    return Message(
        "user",
        "Your reply could not be used, and nothing was changed:\n\n"
        f"{fenced(shorten(error, 4_000))}\n\n"
        "Send the whole reply again, in the same format and for the same idea, with this mended.",
    )


def _brief(context: Context, limit: int) -> Part:
    text = context.brief.strip()
    if size(text) <= limit:
        return Part(text)
    return Part(shorten(text, limit), (f"part of the brief, which has {size(text):,} characters",))


def _base(context: Context) -> str:
    return "the best experiment" if context.goal_number is None else f"#{context.best_number}, an older keep"


def _closing(context: Context, cut: list[str]) -> str:
    lines = [f"Remaining: {context.remaining}." if context.remaining else ""]
    if cut:
        told = shorten("; ".join(cut), MAX_CUT_BYTES - 100)
        lines.append(f"To fit what you can read at once, this was left out: {told}.")
    lines.append(f"Propose the next experiment. Editable: {', '.join(context.files)}.")
    return "# Now\n\n" + "\n".join(filter(None, lines))
