"""The tensors of a model as one flat file. Fixed: the researcher edits train.py, never this file.

What a training has learned is written before its exam's first question. A second process builds the same model anew, takes
the tensors from the file, and must give the same answers: see sitting.py.

The file: a line of JSON, [{"name", "dtype", "shape", "bytes"}...], then the bytes of each, one after the other.
"""

import json

LINE_BYTES = 2**24  # of the first line, at most


class NoTensors(Exception):
    """The model cannot be put in a file, or taken from it; the words say why."""


def write(model, path: str) -> None:
    """Raises NoTensors, OSError."""
    import torch

    found = dict(tensors_of(model))
    if not found:
        raise NoTensors("the model has no tensors: keep what it learns in parameters or buffers")
    line = json.dumps([describe(name, tensor) for name, tensor in found.items()]).encode()
    if len(line) > LINE_BYTES:
        raise NoTensors(f"the model has too many tensors ({len(found):,})")
    with open(path, "xb") as file:
        file.write(line + b"\n")
        for tensor in found.values():
            flat = tensor.detach().to("cpu").contiguous().flatten()
            file.write(flat.view(torch.uint8).numpy().data)


def load(model, path: str) -> None:
    """Give the model the tensors of the file, each under its name. Raises NoTensors, OSError."""
    import torch

    ours, taken = dict(tensors_of(model)), 0
    with open(path, "rb") as file, torch.no_grad():
        for each in json.loads(file.readline(LINE_BYTES)):
            stored = file.read(each["bytes"])
            tensor = ours.get(each["name"])
            if tensor is None:  # made when it is first used, as a cache is
                continue
            if each["dtype"] != dtype_of(tensor):
                raise NoTensors(f"{each['name']} is {dtype_of(tensor)} when it is built, and was {each['dtype']}")
            given = torch.frombuffer(bytearray(stored), dtype=tensor.dtype) if stored else torch.empty(0, dtype=tensor.dtype)
            put(tensor, given.view(each["shape"]))
            taken += 1
    if not taken:
        raise NoTensors("none of its tensors has the name that it had")


def put(tensor, given) -> None:
    """In its place, so that all that shares it sees it; one of another shape gets a new place."""
    if tensor.shape == given.shape:
        tensor.copy_(given)
    else:
        tensor.data = given.to(tensor.device)


def tensors_of(model):
    """(name, tensor): parameters, buffers of both kinds, and what lies in plain attributes, lists and dicts of a module."""
    model = getattr(model, "_orig_mod", model)
    modules = model.named_modules() if hasattr(model, "named_modules") else [("", model)]
    for name, module in modules:
        own = getattr(module, "__dict__", {})
        yield from inside({key: value for key, value in own.items() if key != "_modules"}, name)


def inside(value, name: str):
    import torch

    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NoTensors(f"{name} is no plain tensor")
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from inside(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from inside(part, f"{name}.{number}")


def dtype_of(tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def describe(name: str, tensor) -> dict:
    size = tensor.numel() * tensor.element_size()
    return {"name": name, "dtype": dtype_of(tensor), "shape": list(tensor.shape), "bytes": size}
