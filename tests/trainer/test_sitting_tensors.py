"""What a model has learned, to a file and into the same model built anew."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trainer.template_modules import load_template

tensors = load_template("sitting_tensors")


class Net(torch.nn.Module):
    """Everything that a model may hold a tensor in."""

    def __init__(self, filled: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2, 3), filled))
        self.tied = self.weight
        self.low = torch.nn.Linear(3, 3).bfloat16()
        torch.nn.init.constant_(self.low.weight, filled)
        self.register_buffer("table", torch.full((4,), filled), persistent=False)
        self.plain = torch.tensor(int(filled))
        self.empty = torch.empty(0)
        self.many = [torch.full((2,), filled), {"deep": torch.full((1,), filled)}]
        self.grown = torch.full((int(filled) + 1,), filled)


def test_all_of_it_arrives(tmp_path: Path) -> None:
    tensors.write(Net(7.0), tmp_path / "file")
    made = Net()
    tensors.load(made, tmp_path / "file")
    found = tensors.tensors_of(made)
    means = {name: float(tensor.detach().float().mean()) for name, tensor in found.items() if tensor.numel()}
    assert {mean for name, mean in means.items() if "bias" not in name} == {7.0}
    assert made.tied is made.weight and len(made.grown) == 8 and made.low.weight.dtype == torch.bfloat16


def test_a_compiled_one_and_one_that_is_no_module(tmp_path: Path) -> None:
    tensors.write(SimpleNamespace(_orig_mod=Net(7.0)), tmp_path / "file")
    made = Net()
    tensors.load(SimpleNamespace(_orig_mod=made), tmp_path / "file")
    assert made.weight[0, 0] == 7
    tensors.write(SimpleNamespace(table=torch.ones(3)), tmp_path / "plain")
    other = SimpleNamespace(table=torch.zeros(3), unused=torch.ones(1))
    tensors.load(other, tmp_path / "plain")
    assert other.table.tolist() == [1, 1, 1]


def test_what_is_made_when_it_is_first_used_is_left_to_that(tmp_path: Path) -> None:
    used = Net(7.0)
    used.cache = torch.ones(5)
    tensors.write(used, tmp_path / "file")
    tensors.load(Net(), tmp_path / "file")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x, "has no tensors"), (SimpleNamespace(table={"a": 1}), "has no tensors"),
        (SimpleNamespace(table=torch.eye(2).to_sparse()), "is no plain tensor"),
        (SimpleNamespace(table=torch.empty(2, device="meta")), "is no plain tensor"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_says_why(tmp_path: Path, model: Any, words: str) -> None:
    with pytest.raises(tensors.NoTensors, match=words):
        tensors.write(model, tmp_path / "file")


def test_too_many_to_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "LINE_BYTES", 100)
    with pytest.raises(tensors.NoTensors, match=r"too many tensors \(9\)"):
        tensors.write(Net(), tmp_path / "file")


def test_a_model_of_other_names_or_types_is_not_the_same(tmp_path: Path) -> None:
    tensors.write(SimpleNamespace(table=torch.ones(3)), tmp_path / "file")
    with pytest.raises(tensors.NoTensors, match="none of its tensors"):
        tensors.load(SimpleNamespace(other=torch.ones(3)), tmp_path / "file")
    with pytest.raises(tensors.NoTensors, match="table is float16 when it is built, and was float32"):
        tensors.load(SimpleNamespace(table=torch.ones(3).half()), tmp_path / "file")
