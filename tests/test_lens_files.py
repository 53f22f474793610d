"""Files of lenses: what is written is read again, what others wrote is read, and nothing else runs or gets through."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens, write_lens, write_state
from ggufjac.maps.lens.lens import Lens, LensOrigin, LensSum, merged

ORIGIN = LensOrigin("tiny", "llama", "f1", "ordinary", 4, 24, "words", "d1")
D = 6


def matrices(seed: int, layers: int = 3) -> dict[int, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {layer: 3 * torch.randn(D, D, generator=draw) for layer in range(layers)}


def summed(*seeds: int, origin: LensOrigin = ORIGIN) -> LensSum:
    state = LensSum(origin)
    for seed in seeds:
        state.add(matrices(seed))
    return state


def mean(*seeds: int) -> dict[int, Tensor]:
    return {layer: torch.stack([matrices(seed)[layer] for seed in seeds]).mean(0) for layer in range(3)}


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
class TestRoundTrip:
    def test_a_lens(self, tmp_path: Path, ending: str) -> None:
        lens, path = summed(1, 2, 3).lens(), tmp_path / f"lens{ending}"
        lens.save(path)
        found = load_lens(path)
        assert (found.n_prompts, found.layers, found.d_model, found.origin) == (3, (0, 1, 2), D, ORIGIN)
        for layer, right in mean(1, 2, 3).items():  # their size as well: a norm would hide a wrong one
            torch.testing.assert_close(found.jacobian(layer), right, rtol=1e-3, atol=1e-3)
            assert found.jacobians[layer].dtype == torch.float16
            assert found.standard_error(layer) == pytest.approx(lens.standard_error(layer), rel=1e-2)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_a_fit_on_its_way(self, tmp_path: Path, ending: str) -> None:
        state, path = summed(1, 2), tmp_path / f"state{ending}"
        write_state(state, path)
        found = load_lens(path)
        assert found.n_prompts == 2
        assert found.origin == ORIGIN
        for layer, right in mean(1, 2).items():
            torch.testing.assert_close(found.jacobian(layer), right)
        again = LensSum(ORIGIN, found)
        again.add(matrices(3))
        whole = summed(1, 2, 3)
        assert again.n == 3
        for layer in range(3):
            torch.testing.assert_close(again.sums[layer], whole.sums[layer])
            assert again.squares[layer] == pytest.approx(whole.squares[layer])

    def test_what_float16_cannot_hold_stays_float32(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"lens{ending}"
        Lens({0: torch.full((D, D), 1e6)}, 1).save(path)
        assert torch.equal(load_lens(path).jacobian(0), torch.full((D, D), 1e6))


@pytest.mark.parametrize("name", [int, str])
def test_published_lenses_are_read(tmp_path: Path, name: Callable[[int], Any]) -> None:
    path, right = tmp_path / "lens.pt", mean(1)
    published = {name(layer): j.half() for layer, j in right.items()}
    torch.save({"J": published, "n_prompts": 1000, "source_layers": [0, 1, 2], "d_model": D}, path)
    found = load_lens(path)
    assert (found.n_prompts, found.layers, found.origin) == (1000, (0, 1, 2), LensOrigin())
    assert math.isnan(found.largest_error)
    for layer in range(3):
        torch.testing.assert_close(found.jacobian(layer), right[layer], rtol=1e-3, atol=1e-3)


def test_a_published_checkpoint_is_the_quotient(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"jacobian_sum": {0: torch.full((D, D), 6.0)}, "n_done": 4}, path)
    assert torch.equal(load_lens(path).jacobian(0), torch.full((D, D), 1.5))


def refused(path: Path) -> str:
    """The one line that a file is answered with."""
    with pytest.raises(UserError) as error:
        load_lens(path)
    said = str(error.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said


J = {0: torch.eye(D)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([J], "list"),
        ({"model.embed.weight": torch.eye(D)}, "neither 'J' nor 'jacobian_sum'"),
        ({}, "neither"),
        ({"J": J}, "n_prompts None"),
        ({"J": J, "n_prompts": 0}, "n_prompts 0"),
        ({"J": J, "n_prompts": True}, "n_prompts True"),
        ({"J": J, "n_prompts": "many"}, "n_prompts 'many'"),
        ({"jacobian_sum": J, "n_done": 0}, "n_done 0"),
        ({"J": {}, "n_prompts": 1}, "a matrix for every block"),
        ({"J": torch.eye(D), "n_prompts": 1}, "a matrix for every block"),
        ({"J": {-1: torch.eye(D)}, "n_prompts": 1}, "no block's number"),
        ({"J": {"head": torch.eye(D)}, "n_prompts": 1}, "no block's number"),
        ({"J": {0: torch.ones(D)}, "n_prompts": 1}, "block 0 is no matrix"),
        ({"J": {0: torch.ones(D, D, dtype=torch.int64)}, "n_prompts": 1}, "block 0 is no matrix"),
        ({"J": {0: "eye"}, "n_prompts": 1}, "block 0 is no matrix"),
        ({"J": {0: torch.ones(0, 0)}, "n_prompts": 1}, "block 0 is no matrix"),
        ({"J": {0: torch.full((D, D), math.nan)}, "n_prompts": 1}, "no numbers"),
        ({"J": {0: torch.full((D, D), math.inf)}, "n_prompts": 1}, "no numbers"),
        ({"J": {0: torch.eye(D), 1: torch.eye(D + 1)}, "n_prompts": 1}, "different widths"),
    ],
)
def test_what_is_no_lens_is_one_line(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "lens.pt"
    torch.save(content, path)
    assert said in refused(path)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:100], lambda b: b[:-200], lambda b: b"GGUF" + b[4:], lambda b: bytes(len(b))]
)
def test_damaged_files_are_one_line(tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"lens{ending}"
    summed(1).lens().save(path)
    path.write_bytes(damage(path.read_bytes()))
    refused(path)


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.pt")
    assert "folder" in refused(tmp_path)


class Payload:
    """What a stranger may put into a pickle: its reading makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("written", ["torch", "pickle"])
def test_code_in_a_file_never_runs(tmp_path: Path, written: str) -> None:
    path, place = tmp_path / "lens.pt", tmp_path / "owned"
    content = {"J": J, "n_prompts": 1, "more": Payload(place)}
    if written == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"J": Payload(place)}, 2))
    refused(path)
    assert not place.exists()


class TestMerged:
    def test_the_mean_is_weighed_by_texts(self) -> None:
        parts = [summed(1, 2, 3), summed(4, origin=replace(ORIGIN, digest="d2"))]
        found, whole = merged(part.lens() for part in parts), summed(1, 2, 3, 4).lens()
        assert found.n_prompts == 4
        for layer in range(3):
            torch.testing.assert_close(found.jacobian(layer), whole.jacobian(layer))
            assert found.standard_error(layer) == pytest.approx(whole.standard_error(layer), rel=1e-4)

    @pytest.mark.parametrize("other", [{"rules": "lrp"}, {"skip": 5}, {"fingerprint": "f2"}, {"architecture": "qwen2"}])
    def test_others_are_refused(self, other: dict[str, Any]) -> None:
        second = summed(4, origin=replace(ORIGIN, digest="d2", **other)).lens()
        with pytest.raises(UserError, match=next(iter(other))):
            merged([summed(1).lens(), second])

    def test_the_same_texts_count_once(self) -> None:
        with pytest.raises(UserError, match="same texts"):
            merged([summed(1).lens(), summed(1).lens()])

    def test_other_blocks_are_refused(self) -> None:
        short = Lens(matrices(2, 2), 1, replace(ORIGIN, digest="d2"))
        with pytest.raises(UserError, match="same blocks"):
            merged([summed(1).lens(), short])


def test_the_standard_error_is_that_of_a_mean() -> None:
    seeds = range(1, 8)
    lens = summed(*seeds).lens()
    for layer in range(3):
        every = torch.stack([matrices(seed)[layer] for seed in seeds]).double()
        error = (every.var(0, unbiased=True).sum() / len(every)).sqrt() / every.mean(0).norm()
        assert lens.standard_error(layer) == pytest.approx(float(error), rel=1e-4)


def test_a_lens_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_lens(summed(1).lens(), tmp_path / "none" / "lens.pt")
    assert not list(tmp_path.iterdir())
