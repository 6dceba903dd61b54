"""Runs a train.py from its first line to its last, in seconds: its code, a few batches, a clock that runs ahead, no exam.

    python rehearse.py PLAN     # JSON, see trainer/preflight.py; in the folder of the code, in a training's sandbox

On a machine that trains on its CPU the steps are real. For a GPU the tensors have shapes and types but no data, at full
size, and the card is pretended: see pretended.py. What happened is in HOME/rehearsal.json, stage by stage. It judges
nothing: that is for the process outside, as this one runs the edited code.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import re
import resource
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path.cwd()
STEPS = 5  # into so many batches the budget is folded, so that the schedule is seen to its end
STEP_SECONDS = 15.0  # then it is enough, wherever the training stands
EXAM_ROWS = 2  # of real logits
WATCH_SECONDS = 3.0  # before the deadline, to say where it stands
ONCE = "evaluate_bpb can be called once a training, at its end."
CLOCKS = ("time", "perf_counter", "monotonic")

_clock = time.monotonic  # the real one


class Enough(BaseException):
    """The rest would only be more of the same. No Exception: train.py must not catch it."""


@dataclass
class Report:
    """What was seen so far. `ended`: done | enough | error | exit | memory | blind | unfinished."""

    stage: str = "import"  # import | build | step | score | end
    ended: str = ""
    error: str = ""
    batches: int = 0
    updates: int = 0  # how often the weights had changed when a batch was asked for
    schedule: bool = False  # whether the loop came to its own end
    params: int | None = None
    memory_mb: float | None = None  # the most at once
    resident_mb: float | None = None  # what stays between two steps
    scored: str = ""  # shape of the logits
    pretended: bool = False
    cpu_seconds: float = 0.0

    def save(self) -> None:
        path = Path(os.environ["HOME"], "rehearsal.json")
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        os.replace(fresh, path)


class Tail:
    """Standard output that remembers its last line: why a training ended itself."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.text = stream, ""

    def write(self, text: str) -> int:
        self.text = (self.text + text)[-2000:]
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def last_line(self) -> str:
        lines = [line.strip() for line in re.split(r"[\r\n]", self.text) if line.strip()]
        return lines[-1][-300:] if lines else "no output"


class Rehearsal:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan, self.report = plan, Report(pretended=plan["card"] is not None)
        self.script = FOLDER / plan["script"]
        self.ahead = 0.0  # seconds by which the training's clock runs ahead
        self.stepping_since = 0.0
        self.card: Any = None  # a pretended.Card
        self.out = Tail(sys.stdout)
        self.watched: list[Any] = []  # some parameters of the model
        self.versions: list[int] = []

    def enter(self, stage: str) -> None:
        self.report.stage = stage
        self.report.save()

    def watch(self) -> None:
        """Before the time is up, say where the code stands, and end."""
        main = threading.main_thread().ident

        def look() -> None:
            time.sleep(max(1.0, self.plan["seconds"] - WATCH_SECONDS))
            frame = sys._current_frames().get(main or 0)
            lines = [f"line {line} of {name}" for name, line, _ in self.ours(traceback.walk_stack(frame))] if frame else []
            self.finish("unfinished", f"It was at {lines[0] if lines else 'no line of its own'}.")

        threading.Thread(target=look, daemon=True).start()

    def finish(self, ended: str, error: str = "") -> None:
        """Write the report and end at once, whatever threads are left."""
        report = self.report
        report.ended, report.error = ended, error[:4000]
        self.measure()
        report.save()
        sys.stdout.flush()
        os._exit(0)

    def measure(self) -> None:
        self.report.cpu_seconds = time.process_time()
        if self.card is not None:
            self.report.memory_mb = self.card.peak / 2**20
        else:
            self.report.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    # The stages

    def run(self) -> None:
        self.enter("import")
        source = self.script.read_text()
        try:
            code = compile(source, str(self.script), "exec")
        except (SyntaxError, ValueError) as error:
            self.finish("error", f"{type(error).__name__}: {error}")
        try:
            self.prepare(source)
        except (ImportError, SystemExit) as error:
            self.finish("blind", f"{type(error).__name__}: {error}")
        module = types.ModuleType("__main__")
        module.__file__ = str(self.script)
        sys.modules["__main__"] = module
        sys.argv[:] = [self.plan["script"]]
        sys.stdout = self.out  # type: ignore[assignment]
        self.enter("build")
        try:
            with self.card or _nothing():
                exec(code, module.__dict__)
        except Enough:
            self.finish("enough")
        except BaseException as error:
            self.ended_by(error)
        self.ended_well()

    def prepare(self, source: str) -> None:
        """What the training meets instead of the machine: our loader, our exam, our clock, no compiler, one thread."""
        import prepare  # type: ignore[import-not-found]
        import torch

        torch.set_num_threads(1)
        torch.set_num_threads = lambda _count: None  # type: ignore[assignment]
        torch.compile = as_it_is  # type: ignore[assignment]
        torch.nn.Module.compile = lambda *_args, **_options: None  # type: ignore[method-assign]
        if self.plan["card"] is not None:
            from pretended import Card  # type: ignore[import-not-found]

            self.card = Card(**self.plan["card"], source=source, folder=str(FOLDER))
        loader = self.unreal_batches if self.card else prepare.make_dataloader
        prepare.make_dataloader = self.counted(loader)
        prepare.evaluate_bpb = self.evaluate
        prepare.pick_device = lambda: "cuda" if self.card else "cpu"
        for name in CLOCKS:
            for suffix, scale in (("", 1), ("_ns", 10**9)):
                real = getattr(time, name + suffix)
                setattr(time, name + suffix, self.hurried(real, scale))
        gc.freeze()  # so far these are torch's own: who looks for the model need not go through a quarter of a million

    def hurried(self, real: Callable[[], Any], scale: int) -> Callable[[], Any]:
        return lambda: real() + type(real())(self.ahead * scale)

    def counted(self, loader: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def make_dataloader(tokenizer: Any, B: int, T: int, split: str) -> Iterator[Any]:
            if B < 1 or T < 1:
                raise ValueError(f"a batch of {B} rows of {T} tokens is not possible: both must be at least 1")
            for batch in loader(tokenizer, B, T, split):
                self.tick()
                yield batch

        return make_dataloader

    def unreal_batches(self, _tokenizer: Any, B: int, T: int, split: str) -> Iterator[Any]:
        import torch

        if split != "train":
            raise SystemExit(f"prepare: there is no {split} data: in the sandbox only the judge has the validation text.")
        while True:
            yield (*(torch.zeros((B, T), dtype=torch.int64, device="cuda") for _ in "xy"), 1)

    def tick(self) -> None:
        """One batch is asked for."""
        report = self.report
        report.batches += 1
        if report.batches == 1:
            self.stepping_since, model = _clock(), biggest_module()
            report.params, self.watched = parameters_of(model), list(model.parameters()) if model is not None else []
            self.versions = [one._version for one in self.watched]
            self.enter("step")
        else:
            versions = [one._version for one in self.watched]
            report.updates, self.versions = report.updates + (versions != self.versions), versions
            self.ahead += self.plan["budget"] / STEPS
            if self.card:
                report.resident_mb = self.card.held / 2**20
        if _clock() - self.stepping_since > STEP_SECONDS:
            raise Enough

    def evaluate(self, model: Any, tokenizer: Any, batch_size: int) -> float:
        """In place of evaluate_bpb: one batch of questions, and no score."""
        import torch
        from sitting import find_problem, needs_targets  # type: ignore[import-not-found]

        if batch_size < 1:
            raise ValueError(f"evaluate_bpb: batch_size is {batch_size}; at least 1 is expected")
        if self.report.scored:
            raise SystemExit(f"exam: no judge is waiting. {ONCE}")
        if self.card:
            self.report.resident_mb = self.card.held / 2**20
        self.report.schedule = True
        self.enter("score")
        self.report.params = parameters_of(model) or self.report.params
        rows = batch_size if self.card else min(batch_size, EXAM_ROWS)
        length, size = self.plan["seq_len"], tokenizer.get_vocab_size()
        x = torch.zeros((rows, length), dtype=torch.int64, device="cuda" if self.card else "cpu")
        if not self.card:
            x.random_(size)
        with torch.no_grad():
            logits = model(x, *((None,) if needs_targets(model) else ()))
        if problem := find_problem(logits, (rows, length, size)):
            raise SystemExit(f"exam: {problem}")
        self.report.scored = str((rows, length, size))
        self.enter("end")
        return 1.0

    # The end

    def ended_well(self) -> None:
        if not self.report.scored:
            self.finish("error", "It ended without calling evaluate_bpb, so it would have no score.")
        self.finish("done")

    def ended_by(self, error: BaseException) -> None:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            self.ended_well()
        words = str(error)
        if isinstance(error, SystemExit):
            words = words if isinstance(error.code, str) else f"exit code {error.code}: {self.out.last_line()}"
        if isinstance(error, MemoryError) or "allocate memory" in words or "FAIL: out of memory" in words:
            self.finish("memory", words)
        if isinstance(error, SystemExit):
            self.finish("exit", words)
        where = list(self.ours(traceback.walk_tb(error.__traceback__)))
        if not where:
            self.finish("blind", f"{type(error).__name__}: {words}")
        if self.card and (why := self.card.cannot_tell(error, where[-1][0], where[-1][1])):
            self.finish("blind", f"{why}: {type(error).__name__}: {words}")
        lines = [f"  {name}, line {line}, in {function}" for name, line, function in where[-3:]]
        self.finish("error", "\n".join([f"{type(error).__name__}: {words}", *reversed(lines)]))

    def ours(self, frames: Any) -> Iterator[tuple[str, int, str]]:
        """(file, line, function) of those frames that are in the program's own files."""
        for frame, line in frames:
            path = Path(frame.f_code.co_filename)
            if path.is_absolute() and path.is_relative_to(FOLDER):
                yield str(path.relative_to(FOLDER)), line, frame.f_code.co_name


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def as_it_is(model: Any = None, *_args: Any, **_options: Any) -> Any:
    """In place of torch.compile, which takes a minute."""
    if model is None:
        return as_it_is
    if not inspect.isfunction(model) and hasattr(model, "__dict__"):
        object.__setattr__(model, "_orig_mod", model)
    return model


def biggest_module() -> Any:
    """The model, most likely: the module with the most parameters."""
    import torch

    found = [one for one in gc.get_objects() if issubclass(type(one), torch.nn.Module)]
    return max(found, key=lambda one: parameters_of(one) or 0, default=None)


def parameters_of(model: Any) -> int | None:
    try:
        return int(sum(p.numel() for p in model.parameters()))
    except (AttributeError, TypeError):
        return None


def main() -> None:
    plan = json.loads(sys.argv[1])
    os.nice(plan["nice"])
    if plan["memory_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (plan["memory_bytes"], plan["memory_bytes"]))
    sys.path.insert(0, str(FOLDER))
    rehearsal = Rehearsal(plan)
    rehearsal.watch()
    rehearsal.run()


if __name__ == "__main__":
    main()
