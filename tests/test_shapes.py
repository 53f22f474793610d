"""Ones at the end of tensors' shapes, in ggml's order, which converters write or leave out: they change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ggufjac.maps.costs.planner import Planner
from torch import Tensor

import ggufjac
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.reader.tensors import plain
from tinymodels import BOS, FAMILIES, make

#: A prompt that meets every tensor, states and mixing over positions included.
PROMPT = [BOS, 300, 17]

Shape = tuple[int, ...]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def one_more(shape: Shape) -> Shape:
    return (1, *shape)


def as_many_as_can_be(shape: Shape) -> Shape:
    return (1,) * (4 - len(shape)) + shape


def logits(path: Path) -> Tensor:
    with ggufjac.open(path) as model:
        return model.run(PROMPT, torch.float64).logits


def same(path: Path, other: Path) -> None:
    """The same weights meet the same numbers: nothing may differ but the order in which BLAS adds unaligned rows."""
    found, expected = logits(path), logits(other)
    assert (found - expected).abs().max() < 1e-12 * expected.std()


def test_shapes_are_plain_without_the_ones_in_front() -> None:
    assert plain((1, 64)) == plain((1, 1, 1, 64)) == plain((64,)) == (64,)
    assert plain((1, 8, 1, 64)) == (8, 1, 64)
    assert plain((64, 1)) == (64, 1)
    assert plain((1, 1)) == plain((1,)) == (1,)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_tensors_may_have_them(family: str, tmp_path: Path) -> None:
    as_it_is = make(family, tmp_path / "plain.gguf")
    for shaped in (as_many_as_can_be, plain):
        same(make(family, tmp_path / "shaped.gguf", shaped=shaped), as_it_is)


@pytest.mark.parametrize("shaped", [one_more, plain])
@pytest.mark.parametrize("options", [{"experts": 1}, {"experts": 1, "packed": {"blk.0.ffn_up_exps.weight": "Q8_0"}}])
def test_a_stack_of_one_expert(options: dict[str, Any], shaped: Callable[[Shape], Shape], tmp_path: Path) -> None:
    """Whose router is a vector then, and whose experts are matrices."""
    options = {**options, "keys": {"expert_used_count": 1}}
    as_it_is = make("llama", tmp_path / "plain.gguf", **options)
    same(make("llama", tmp_path / "shaped.gguf", **options, shaped=shaped), as_it_is)


def test_what_a_run_costs_does_not_depend_on_them(tmp_path: Path) -> None:
    """Experts are counted by the share that is met, and one layer's matrices are read on trial."""
    found = []
    for shaped in (None, as_many_as_can_be):
        with ggufjac.open(make("qwen3moe", tmp_path / "tiny.gguf", shaped=shaped)) as model:
            read = sum(data.nbytes for data in model.family.source.packed("blk.0."))
            found.append((Planner(model.family, len(PROMPT), 1 << 30).prefill, read))
    assert found[0] == found[1]


def test_llama_cpp_does_not_tell_them_apart(tmp_path: Path) -> None:
    path = make("qwen3next", tmp_path / "shaped.gguf", shaped=lambda shape: (1, *shape) if len(shape) == 1 else shape)
    with Runner(path, len(PROMPT), kv="f32", threads=1) as runner:
        theirs = torch.from_numpy(runner.logits(PROMPT))
    assert (logits(path)[-1] - theirs).abs().max() < 1e-4 * theirs.std()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ((256, 1), "has the shape 256 x 1; the file's own keys say 256"),
        ((2, 128), "has the shape 2 x 128; the file's own keys say 256"),
        ((1, 2, 128), "has the shape 1 x 2 x 128; the file's own keys say 256"),
    ],
)
def test_other_shapes_are_refused(written: Shape, says: str, tmp_path: Path) -> None:
    path = make("llama", tmp_path / "tiny.gguf", shaped=lambda shape: written if shape == (256,) else shape)
    with pytest.raises(UserError, match=says):
        ggufjac.open(path)
