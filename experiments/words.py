"""What a page says about an experiment: why it failed, what it waits for, why a part is empty. Pure."""

from __future__ import annotations

from typing import Any

from experiments.states import Badge, Failure, Kind, Mode, State
from trainer.presets import PRESETS

FAILURES: dict[str, str] = {
    Failure.BAD_PATCH: "The edit could not be used.",
    Failure.DUPLICATE: "The same change was tried before; it was not trained again.",
    Failure.PREFLIGHT: "It would not have trained: found on the CPU, before it cost device time.",
    Failure.RESEARCHER_ERROR: "The researcher gave no usable reply.",
    Failure.CRASH: "The training ended with an error. Its last words are at the end of the log.",
    Failure.OOM: "The training ran out of memory.",
    Failure.NAN: "The loss became NaN or infinite.",
    Failure.TIMEOUT: "It ran longer than the budget and the grace together, and was ended.",
    Failure.NO_SCORE: "The training ended without a score.",
    Failure.TAMPERED: "The score it printed is not what the judge measured.",
    Failure.LEAK: "The model saw what it was to predict, or learned during the exam.",
    Failure.WORKER_LOST: "Its training died several times with the machine or the worker.",
    Failure.DISK_FULL: "The disk was full.",
}
STATES: dict[str, str] = {
    State.PROPOSING: "The researcher is writing the edit.",
    State.REVIEWING: "Waits for you: approve the diff and it trains, or reject it and say why.",
    State.READY: "Waits for a free device.",
    State.TRAINING: "Trains now.",
    State.EVALUATING: "Trained. What its score is worth is being settled.",
    State.CONFIRMING: "Waits for you: it is better. Confirm to build on it, or reject it.",
    State.KEPT: "Kept: the branch builds on it.",
    State.DISCARDED: "Discarded: the branch does not contain it. Its commit stays.",
    State.FAILED: "Failed.",
    State.CANCELLED: "Cancelled.",
    State.REVERTED: "Was kept, then taken back. Roll forward to build on it again.",
}
RELATIONS: dict[str, str] = {  # of an experiment to its subject
    Kind.REVERT: "reverts",
    Kind.ABLATION: "does without",
    Kind.REBASE: "rebased from",
    Kind.REPEAT: "repeats",
    Kind.REEXAMINED: "examines anew",
    Kind.IDEA: "repairs",
    Kind.MANUAL: "trains anyway",
}
BADGES: dict[str, str] = {
    Badge.VERIFIED: "The score is the judge's: measured by a process that runs none of the edited code.",
    Badge.UNPROVEN: "The judge's score, but no second process could be built to confirm that the model saw no answer.",
    Badge.UNPROTECTED: "There was no working sandbox: the training could read the exam, or forge the judge's number.",
    Badge.SELF_REPORTED: "The score is what the training printed: its program brings a metric of its own.",
    Badge.TAMPERED: "What it printed, or the fixed files, are not what they should be.",
    Badge.LEAK: "The model saw what it was to predict, or learned during the exam.",
    Badge.OVERTIME: "It trained longer, or computed more, than it was given, by the clocks outside. Never kept.",
    Badge.SEED_ONLY: "It trains the same with other random numbers, or changes nothing that trains. Never kept.",
    Badge.IMPLAUSIBLE: "Better than anything seen, or than seems possible. Read its diff before you believe it.",
}
MODES: dict[str, str] = {
    Mode.AUTOPILOT: "Autopilot: nobody is asked. What waited for you goes on.",
    Mode.APPROVE_DIFFS: "From the next proposal on, each diff waits for you. What was proposed before trains unasked.",
    Mode.APPROVE_KEEPS: "From the next verdict on, each gain waits for you before it is kept.",
    Mode.APPROVE_BOTH: "From now on, each new diff waits for you before it trains, and each gain before it is kept.",
}
_BADGE_TONES = {Badge.VERIFIED: "kept", Badge.SELF_REPORTED: "", Badge.TAMPERED: "failed", Badge.LEAK: "failed"}
SANDBOX = {
    "bubblewrap": "sealed: no network, no validation text",
    "seatbelt": "sealed by macOS (unseen: nobody has run this on a Mac yet): no network, no validation text",
    "limits": "none, limits only: it could read and write what you can, the exam too",
}
CHECKS: dict[str, str] = {  # of the judge's report, with their unit
    "causal": "looks ahead, largest change (nats)",
    "ahead_bpb": "looks ahead, worth (bpb)",
    "repeat": "asked again, largest change (nats)",
    "learned_bpb": "learned in the exam, worth (bpb)",
    "last_sigmas": "last position, standard errors",
    "places": "hidden places, asked in a second process",
    "seen_bpb": "there it believes less by (bpb)",
    "bound_bpb": "at most so much of its gain may be leak (bpb, 95%)",
}
_BEFORE = {State.PROPOSING, State.REVIEWING, State.READY}
_BY_US: dict[str, str] = {
    Kind.BASELINE: "the baseline is the program as it stands",
    Kind.REPEAT: "a repeat is the same commit with another seed",
    Kind.REEXAMINED: "the exam has changed, and the best is trained and examined anew: the same commit and seed",
    Kind.REVERT: "a revert takes one commit back; no researcher was asked",
    Kind.ABLATION: "an ablation takes one commit back; no researcher was asked",
    Kind.MANUAL: "a person made this edit",
}


def outcome(state: State, reason: str) -> str:
    """What the state means to the person who looks at it."""
    if state == State.FAILED:
        return failure(reason)
    if state == State.CANCELLED and reason == "rejected":
        return "Rejected before it trained. The researcher sees the reason."
    return STATES[state]


def badge_tone(badge: str) -> str:
    """The state whose colour the badge wears: "kept" good, "failed" bad, "paused" a warning, "" neutral."""
    return _BADGE_TONES.get(Badge(badge), "paused") if badge in BADGES else ""


def preset(name: str) -> str:
    return PRESETS[name].summary if name in PRESETS else ""


def exam_facts(exam: dict[str, Any], sandbox: str, hardware: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of the judge's report and of where it trained, as a person reads them."""
    facts = []
    if exam:
        facts = [
            ("metric", str(exam.get("version", ""))),
            ("text", f"{exam.get('text') or exam.get('dataset', '')}, {exam.get('bytes', 0):,} bytes"),
            ("its hash", str(exam.get("validation_hash", ""))[:12]),
            ("exam", f"version {exam.get('exam', 1)}, {exam.get('seconds') or 0.0:.1f} s, {exam.get('batches', 0)} batches"),
        ]
        if exam.get("twice"):
            facts.append(("second process", exam.get("why_not") or f"agrees, {exam.get('second_seconds', 0.0):.1f} s"))
        if exam.get("after_seconds") is not None:
            facts.append(("began after", f"{exam['after_seconds']:.1f} s, by the clock outside"))
        if exam.get("processor_seconds") is not None:
            facts.append(("processor", f"{exam['processor_seconds']:.1f} s, of all its processes"))
        facts += [(CHECKS[name], f"{value:.3g}") for name, value in (exam.get("checks") or {}).items() if name in CHECKS]
    if sandbox:
        facts.append(("sandbox", SANDBOX.get(sandbox, sandbox)))
    if hardware:
        memory, driver = hardware.get("memory_bytes"), hardware.get("driver")
        device = [hardware["device"], memory and f"{memory / 2**30:.0f} GB", driver and f"driver {driver}"]
        facts += [("trained on", ", ".join(filter(None, device))), ("torch", hardware["torch"])]
    return facts


def failure(reason: str) -> str:
    """One sentence; an unknown reason stays readable."""
    return FAILURES.get(reason, f"Failed: {reason.replace('_', ' ')}." if reason else "Failed.")


def no_curve(state: State) -> str:
    if state in _BEFORE:
        return "The curve starts with the training."
    if state == State.TRAINING:
        return "The first points come in a moment."
    if state == State.FAILED:
        return "No curve: it failed before the first step."
    if state == State.CANCELLED:
        return "No curve: it was cancelled before the first step."
    return "No curve: the training printed no steps that could be read."


def no_log(state: State) -> str:
    if state in _BEFORE:
        return "The log starts with the training."
    if state == State.TRAINING:
        return "Nothing printed yet."
    if state in {State.FAILED, State.CANCELLED}:
        return "No log: it never trained."
    return "No log: the training printed nothing."


def no_reply(state: State, kind: Kind) -> str:
    if kind in _BY_US:
        return f"No reply: {_BY_US[kind]}."
    return "The reply appears here as it is written." if state == State.PROPOSING else "No reply was stored."


def no_prompt(state: State, kind: Kind) -> str:
    if kind in _BY_US:
        return f"No prompt: {_BY_US[kind]}."
    return "The prompt appears when it is sent." if state == State.PROPOSING else "No prompt: no LLM was asked."


def no_diff(state: State, kind: Kind, reason: str) -> str:
    if kind in {Kind.BASELINE, Kind.REPEAT, Kind.REEXAMINED}:
        return f"No diff: {_BY_US[kind]}."
    if state == State.PROPOSING:
        return "The diff appears when the reply is complete and its edits apply."
    if reason in {Failure.DUPLICATE, Failure.PREFLIGHT}:
        return "No diff: the edit was not committed. The reply shows what was asked for."
    if reason == Failure.BAD_PATCH:
        return "No diff: the edit could not be used. The reply shows what was asked for."
    return "No diff: it ended before an edit was made."
