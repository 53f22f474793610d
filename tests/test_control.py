"""Control vectors: the files as ggml reads them, and llama.cpp's logits when it steers with them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from numpy.typing import NDArray

from conftest import IDS
from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.steer.influences import ControlVector
from ggufjac.analyses.steer.steering import steer
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile, steered_layers
from ggufjac.llamacpp.library import library
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.network.texts import logits_of_texts
from tinymodels import FAMILIES, GELU, make

#: Of the logits' spread: what llama.cpp may differ by in float32, and behind a GELU that it reads from a table; what a
#: control vector must move.
TOLERANCE, ROUNDED, MOVED = 1e-4, 5e-3, 1e-1


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class InitParams(ctypes.Structure):
    """gguf.h's `struct gguf_init_params`."""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(ctypes.c_void_p))]


def as_ggml_reads(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a GGUF file through ggml's own reader, one-dimensional and F32, as common_control_vector_load in
    llama.cpp asks of them."""
    ggml, pointer = library().ggml, ctypes.c_void_p
    for name, restype, argtypes in (
        ("gguf_init_from_file", pointer, [ctypes.c_char_p, InitParams]),
        ("gguf_get_n_tensors", ctypes.c_int64, [pointer]),
        ("gguf_get_tensor_name", ctypes.c_char_p, [pointer, ctypes.c_int64]),
        ("gguf_free", None, [pointer]),
        ("ggml_get_tensor", pointer, [pointer, ctypes.c_char_p]),
        ("ggml_get_data_f32", ctypes.POINTER(ctypes.c_float), [pointer]),
        ("ggml_n_dims", ctypes.c_int, [pointer]),
        ("ggml_nelements", ctypes.c_int64, [pointer]),
    ):
        function = getattr(ggml, name)
        function.restype, function.argtypes = restype, argtypes
    tensors = pointer()
    opened = ggml.gguf_init_from_file(str(path).encode(), InitParams(False, ctypes.pointer(tensors)))
    assert opened
    found = {}
    for i in range(ggml.gguf_get_n_tensors(opened)):
        name = ggml.gguf_get_tensor_name(opened, i)
        tensor = ggml.ggml_get_tensor(tensors, name)
        assert ggml.ggml_n_dims(tensor) == 1
        data = ggml.ggml_get_data_f32(tensor)  # asserts that it is F32
        found[name.decode()] = np.ctypeslib.as_array(data, (ggml.ggml_nelements(tensor),)).copy()
    ggml.gguf_free(opened)
    ggml.ggml_free(tensors)
    return found


# --- files ------------------------------------------------------------------------------------------------------


def test_a_file_is_read_by_ggml_and_by_us(tmp_path: Path) -> None:
    directions = {layer: np.random.default_rng(layer).standard_normal(48).astype(np.float32) for layer in (3, 1)}
    path = tmp_path / "control.gguf"
    ControlFile(directions, "llama").write(path)
    ggml = as_ggml_reads(path)
    assert set(ggml) == {"direction.1", "direction.3"}
    again = ControlFile.read(path)
    assert again.model_hint == "llama"
    for layer, direction in directions.items():
        np.testing.assert_array_equal(ggml[f"direction.{layer}"], direction)
        np.testing.assert_array_equal(again.directions[layer], direction)
    assert sorted(tmp_path.iterdir()) == [path]


def test_directions_may_have_ones_at_the_end_of_their_shape(tmp_path: Path) -> None:
    """llama.cpp asks for one dimension, and counts none of the ones."""
    path = tmp_path / "control.gguf"
    writer = GGUFWriter(path, "controlvector")
    direction = np.arange(4, dtype=np.float32)
    writer.add_tensor("direction.1", direction[None])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for found in (as_ggml_reads(path)["direction.1"], ControlFile.read(path).directions[1]):
        np.testing.assert_array_equal(found, direction)


@pytest.mark.parametrize(
    ("directions", "told"),
    [
        ({0: np.ones(4, np.float32)}, "cannot steer block 0"),
        ({}, "one layer at least"),
        ({1: np.ones(4, np.float32), 2: np.ones(5, np.float32)}, "same length"),
        ({1: np.full(4, np.nan, np.float32)}, "finite"),
    ],
)
def test_what_llama_cpp_could_not_use_is_not_written(
    directions: dict[int, NDArray[np.float32]], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        ControlFile(directions, "llama").write(tmp_path / "control.gguf")
    assert not list(tmp_path.iterdir())


def test_other_files_are_no_control_vectors(tiny_path: Path) -> None:
    with pytest.raises(UserError, match="no control vector"):
        ControlFile.read(tiny_path)


def test_llama_cpp_refuses_layers_and_sizes_that_do_not_exist(tiny_path: Path) -> None:
    with Runner(tiny_path, 32, kv="f32", threads=1) as runner:
        for layer in (0, 2):
            with pytest.raises(UserError, match=f"cannot steer layer {layer}"):
                runner.steer({layer: np.ones(256, np.float32)})
        with pytest.raises(UserError, match=r"takes \[256\]"):
            runner.steer({1: np.ones(255, np.float32)})


# --- llama.cpp is the judge -------------------------------------------------------------------------------------


def both(
    model: Model, runner: Runner, ids: list[int], directions: dict[int, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The logits at every position: llama.cpp's without and with the vectors, and ours with them."""
    vectors = ControlVector(model.family, {layer: torch.from_numpy(v) for layer, v in directions.items()})
    (ours,) = logits_of_texts(model.family, torch.tensor([ids]), torch.float32, influence=lambda _: vectors)
    runner.steer({})
    before = runner.logits(ids, all_positions=True)
    runner.steer(directions)
    return before, runner.logits(ids, all_positions=True), ours[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_move_in_llama_cpp_as_they_move_here(family: str, tmp_path: Path) -> None:
    """Every layer that llama.cpp steers, by a vector of its own; and the others are those that it does not steer."""
    path = make(family, tmp_path / "tiny.gguf")
    with Model.open(path) as model, Runner(path, 64, kv="f32", threads=1) as runner:
        n_layer, d = model.family.n_layer, model.family.d
        able = steered_layers(model.file, n_layer)
        all_layers = {k: np.random.default_rng(k).standard_normal(d).astype(np.float32) for k in range(1, n_layer)}
        steered = {layer: v for layer, v in all_layers.items() if layer in able}
        before, theirs, ours = both(model, runner, IDS, steered)
        limit = ROUNDED if family in GELU else TOLERANCE
        assert np.abs(ours - theirs).max() < limit * before.std()
        if steered:
            assert np.abs(theirs - before).max() > MOVED * before.std()
        runner.steer(all_layers)
        np.testing.assert_array_equal(runner.logits(IDS, all_positions=True), theirs)


def test_a_vector_of_smollm2_moves_llama_cpps_logits_within_its_rounding(smollm2_path: Path, tmp_path: Path) -> None:
    """llama.cpp rounds activations to 8 bits, with the vector and without: two times its noise, which is independent.

    Logits without their mean, which no probability depends on. Measured at four layers and two texts: the difference is
    0.8 to 1.7 times the noise, the cosine 0.988 to 0.997, the sizes are within 3%.
    """
    target, text = tmp_path / "control.gguf", "Here is a painting of the"
    with Model.open(smollm2_path) as model, torch.no_grad():
        ids = model.tokenize(text)
        chosen = SteerOptions(
            layer=20, strengths=(1.0,), tokens=1, export=str(target), export_layers=(20,), counted=(5,)
        )
        steer(model, "The bridge out of Marin is the", text, chosen)
        with Runner(smollm2_path, 64, kv="f32") as runner:
            before, theirs, ours = both(model, runner, ids, dict(ControlFile.read(target).directions))
        alone = next(logits_of_texts(model.family, torch.tensor([ids]), torch.float32))[0].numpy()
    moved, expected, noise = (x - x.mean(-1, keepdims=True) for x in (theirs - before, ours - alone, before - alone))
    size, expected_size, rounding = (float(np.linalg.norm(x)) for x in (moved, expected, noise))
    assert expected_size > 5 * rounding
    assert np.linalg.norm(moved - expected) < 1.5 * rounding
    assert float((moved * expected).sum()) / size / expected_size > 0.98
    assert size / expected_size == pytest.approx(1, abs=0.03)
