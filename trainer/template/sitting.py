"""The training's side of the exam. Fixed: the researcher edits train.py, never this file.

A judge, in another process, holds the validation text. It asks for the logits of one batch of tokens after another, scores
them itself, and says the result. Messages are JSON lines through two FIFOs; tokens and logits lie in two shared files.

What would be kept is examined twice: the tensors of the model are written before the first question, and a second process,
which AUTORESEARCH_TENSORS names the file to, answers with them. It runs the same train.py, with next to no time to train.
"""

import contextlib
import inspect
import json
import mmap
import os

import sitting_tensors

ONCE = "evaluate_bpb can be called once a training, at its end."
DTYPES = ("float32", "float16", "bfloat16")


def sit_exam(model, folder: str, batch_size: int, device: str) -> float:
    """Validation bits per byte of model, by the judge who has the channel in `folder`.

    model(x) takes x (B, T) int64 and returns logits (B, T, V) in float32, float16 or bfloat16; B is at most batch_size.
    Asked under the caller's autocast and eval mode, without gradients. Exits with the judge's words where there is no score.
    """
    import torch

    with open_channel(folder) as (questions, answers):

        def say(**message) -> None:
            with contextlib.suppress(BrokenPipeError):  # the judge has ended: its last words are still to be heard
                os.write(answers, json.dumps(message).encode() + b"\n")

        def hear() -> dict:
            line = questions.readline()
            if not line:
                raise SystemExit(f"exam: the judge is gone. {ONCE} What else it said is in judge.log.")
            return json.loads(line)

        say(begin={"batch_size": batch_size, "no_tensors": exchange_tensors(model, folder)})
        message = terms = hear()
        if "slots" in terms:
            slots = Slots(folder, terms)
            device = next((p.device for p in parameters(model)), device)
            with torch.no_grad():
                while "ask" in (message := hear()):
                    number, slot = message["ask"], message["slot"]
                    say(**answer(model, slots, slot, device), answer=number, slot=slot)
            slots.unpin()
    if "bpb" not in message:
        raise SystemExit(f"exam: {message.get('error')}")
    return message["bpb"]


def exchange_tensors(model, folder: str) -> str:
    """Write them for the second process or, being the second, take them. Why they could not be written, or ""."""
    given = os.environ.get("AUTORESEARCH_TENSORS")
    try:
        if given:
            sitting_tensors.load(model, given)
        else:
            sitting_tensors.write(model, os.path.join(folder, "tensors"))
    except Exception as error:  # models hold tensors of every kind; the score is the judge's all the same
        if given:
            raise SystemExit(f"exam: the model cannot be built a second time: {error}.") from error
        return str(error)[:300]
    return ""


@contextlib.contextmanager
def open_channel(folder: str):
    """questions as a text file, and answers as a file descriptor."""
    try:
        # Opened without waiting: where no judge reads any more, this fails at once.
        answers = os.open(os.path.join(folder, "answers"), os.O_WRONLY | os.O_NONBLOCK)
        questions = os.open(os.path.join(folder, "questions"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SystemExit(f"exam: no judge is waiting ({error.strerror}). {ONCE}") from None
    os.set_blocking(answers, True)
    os.set_blocking(questions, True)
    with open(questions) as reading:
        try:
            yield reading, answers
        finally:
            os.close(answers)


class Slots:
    """The shared files as tensors: a place for the tokens and one for the logits of each batch under way."""

    def __init__(self, folder: str, terms: dict):
        self.shape = (terms["rows"], terms["length"], terms["vocab"])
        self.count, self.slot_bytes = terms["slots"], terms["slot_bytes"]
        self.tokens, self.logits = map_file(folder, "tokens"), map_file(folder, "logits")
        self.token_bytes = len(self.tokens) // self.count
        self.pinned = {}

    def read_tokens(self, slot: int, device):
        """x (B, T) int64, a copy."""
        import torch

        rows, length, _ = self.shape
        flat = torch.frombuffer(self.tokens, dtype=torch.int32, count=rows * length, offset=slot * self.token_bytes)
        return flat.view(rows, length).to(device=device, dtype=torch.int64)

    def write_logits(self, slot: int, logits) -> None:
        """As they are: the judge reads all three types."""
        import torch

        place = torch.frombuffer(self.logits, dtype=logits.dtype, count=logits.numel(), offset=slot * self.slot_bytes)
        if logits.is_cuda:
            self.pin(place)
        place.view(self.shape).copy_(logits)

    def pin(self, place) -> None:
        """Let the GPU write here directly, three times as fast. Where it cannot, the copy goes by way of other memory."""
        import torch

        if place.data_ptr() not in self.pinned:
            with contextlib.suppress(Exception):  # only speed is at stake, and every version has failures of its own
                self.pinned[place.data_ptr()] = torch.cuda.cudart().cudaHostRegister(place.data_ptr(), place.nbytes, 0)

    def unpin(self) -> None:
        import torch

        for pointer in self.pinned:
            with contextlib.suppress(Exception):
                torch.cuda.cudart().cudaHostUnregister(pointer)


def map_file(folder: str, name: str) -> mmap.mmap:
    with open(os.path.join(folder, name), "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def answer(model, slots: Slots, slot: int, device) -> dict:
    """Compute the logits of one batch and put them in their place; what to say about them."""
    import torch

    x = slots.read_tokens(slot, device)
    try:
        logits = model(x, None) if needs_targets(model) else model(x)
        problem = find_problem(logits, slots.shape)
        if problem:
            return {"problem": "shape", "detail": problem}
        slots.write_logits(slot, logits)
    except RuntimeError as error:
        words = str(error)
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in words and "allocate memory" not in words:
            raise
        todo = "Call evaluate_bpb with a smaller batch size."
        return {"problem": "oom", "detail": f"Memory ran out in the exam, at {slots.shape[0]} rows. {todo} {words[:300]}"}
    return {"dtype": str(logits.dtype).removeprefix("torch."), "shape": list(logits.shape)}


def needs_targets(model) -> bool:
    """Whether forward has a second argument without a default, as in model(x, y)."""
    try:
        arguments = inspect.signature(getattr(model, "_orig_mod", model).forward).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return False
    return sum(a.default is a.empty and a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD) for a in arguments) >= 2


def parameters(model):
    return model.parameters() if hasattr(model, "parameters") else iter(())


def find_problem(logits, shape: tuple[int, int, int]) -> str:
    """Why these cannot be logits of (B, T, V); "" where they can."""
    import torch

    B, T, V = shape
    wanted = f"model(x) with x of ({B}, {T}) must give logits of ({B}, {T}, {V})"
    if not isinstance(logits, torch.Tensor):
        hint = ": return the logits alone" if isinstance(logits, tuple | list | dict) else ""
        return f"{wanted}, and gave a {type(logits).__name__}{hint}."
    if logits.device.type == "meta":
        return f"{wanted}, and gave a tensor without data, on the meta device."
    given = f"{wanted}, and gave {tuple(logits.shape)}"
    if logits.ndim == 0:
        return f"{given}: a loss? Without targets it must give the logits."
    if tuple(logits.shape) == (B * T, V):
        return f"{given}: give them back as logits.view({B}, {T}, {V})."
    if logits.ndim == 3 and tuple(logits.shape[:2]) == (B, T):
        if logits.size(2) != V:
            return f"{given}: the tokenizer has {V} tokens. Padding of the vocabulary must be cut off: logits[..., :{V}]."
    elif tuple(logits.shape) != shape:
        return f"{given}: every row and every position must be answered, in the order asked."
    if str(logits.dtype).removeprefix("torch.") not in DTYPES:
        return f"{wanted} in float32, float16 or bfloat16, and gave {logits.dtype}."
    return ""
