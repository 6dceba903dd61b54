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
    """Raises NoTensors, OSError, and whatever a tensor of an odd kind raises."""
    import torch

    found = tensors_of(model)
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
    """Give the model the tensors of the file, each under its name. Raises as `write` does."""
    import torch

    ours, taken = tensors_of(model), 0
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
    """In its place, so that all that shares it sees it; where that cannot be, in a new one."""
    try:
        if tensor.shape == given.shape:
            tensor.copy_(given)
            return
    except RuntimeError:  # several of its elements share a place
        pass
    tensor.data = given.to(tensor.device)


def tensors_of(model) -> dict:
    """By name: parameters, buffers of both kinds, and what lies in attributes, lists and dicts; one that is shared once."""
    found, seen = {}, set()
    model = getattr(model, "_orig_mod", model)
    for key, value in getattr(model, "__dict__", {}).items():
        collect(value, key, found, seen)
    return found


def collect(value, name: str, found: dict, seen: set) -> None:
    import torch

    if not isinstance(value, torch.Tensor | torch.nn.Module | dict | list | tuple) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NoTensors(f"{name} is no plain tensor")
        found[name] = value
        return
    if isinstance(value, torch.nn.Module):
        value = vars(value)
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        collect(part, f"{name}.{key}", found, seen)


def dtype_of(tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def describe(name: str, tensor) -> dict:
    size = tensor.numel() * tensor.element_size()
    return {"name": name, "dtype": dtype_of(tensor), "shape": list(tensor.shape), "bytes": size}
