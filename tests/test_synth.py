"""Synthetic models: llama.cpp loads them and agrees, and their types are those that its quantiser would choose.

And the benchmarks that are run on them: their numbers fit together.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import growth, results, scale, synth
from benchmarks.synth import fill, size_of, synthesize
from benchmarks.synthetic.blocks import FIELDS, Pool
from benchmarks.synthetic.layouts import LAYERS, layout
from benchmarks.synthetic.mixtures import MIXTURES
from benchmarks.synthetic.shapes import SHAPES, Shape, named
from ggufjac.analyses.judge.verify import direct
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps.model import Model
from ggufjac.quants import native
from ggufjac.reader import GGUFFile
from ggufjac.reader.types import GGMLType

SMALL = ("n_embd=256", "n_ff=512", "n_head=4", "n_head_kv=2", "head_dim=64", "n_vocab=512", "n_ctx=512")
#: One model of each architecture.
ONE_OF_EACH = {shape.arch: name for name, shape in reversed(SHAPES.items())}


def small(name: str, *changes: str) -> Shape:
    experts = ("n_expert=8", "n_expert_used=2") if SHAPES[name].n_expert else ()
    return named(name, (*SMALL, "n_layer=3", *experts, *changes))


def types_in(path: Path) -> dict[str, str]:
    with GGUFFile.open(path) as file:
        return {name: info.type.name for name, info in file.tensors.items()}


def test_there_is_a_model_of_each_architecture() -> None:
    assert ONE_OF_EACH.keys() == LAYERS.keys()


@pytest.mark.parametrize("name", [*ONE_OF_EACH.values(), "mixtral-8x7b", "llama3.2-1b"])
def test_llama_cpp_agrees(name: str, tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    shape = small(name)
    # llama.cpp's 8-bit activations flip single choices of experts; in float32 there are none
    assert synthesize(path, shape, "F32" if shape.n_expert else "Q4_K_M", leave=0) == path.stat().st_size
    with Model.open(path) as model, torch.no_grad():
        ids = model.tokenize("The bridge 3é")
        assert model.detokenize(ids[1:]).strip() == "The bridge 3é"
        linear = model.linearize(ids)
        assert linear.reconstruction_error() < 1e-5
        assert 0.5 < float(linear.logits.std()) < 10
        assert all(check.verdict == "MATCH" for check in direct(model, [ids, ids[:1]], threads=1).checks)


def test_values_stay_of_order_one_through_eighty_layers(tmp_path: Path) -> None:
    synthesize(tmp_path / "deep.gguf", small("llama3.3-70b", "n_layer=80"), leave=0)
    with Model.open(tmp_path / "deep.gguf") as model:
        states = model.linearize([1, 300, 17, 42]).forward_pass.states
    assert all(0.5 < float(state.std()) < 3 for state in states)


@pytest.fixture(scope="module")
def float_twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synth") / "f32.gguf"
    synthesize(path, small("llama3.1-8b", "n_layer=16", "n_ff=256", "n_head_kv=1"), "F32", leave=0)
    return path


@pytest.mark.parametrize("file_type", MIXTURES)
def test_types_are_llama_cpps(float_twin: Path, file_type: str, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    quantize(float_twin, theirs, file_type)
    synthesize(ours, small("llama3.1-8b", "n_layer=16", "n_ff=256", "n_head_kv=1"), file_type, leave=0)
    assert types_in(ours) == types_in(theirs)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mixtral-8x7b", ()),
        ("qwen3-30b-a3b", ()),
        ("phi4-14b", ("n_layer=9",)),
        ("gemma3-1b", ("n_layer=9", "n_embd=320")),  # rows that K-quants do not fit
        ("llama3.3-70b", ("n_layer=80", "n_embd=32", "n_ff=32", "head_dim=8")),  # llama.cpp knows it by its layers
        ("qwen2.5-7b", ("n_embd=120", "head_dim=30")),  # rows that nothing fits
    ],
)
def test_types_of_other_models_are_llama_cpps(name: str, changes: tuple[str, ...], tmp_path: Path) -> None:
    file_type = "Q4_K_M"
    shape = small(name, *changes)
    plain, ours, theirs = tmp_path / "f32.gguf", tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    synthesize(plain, shape, "F32", leave=0)
    quantize(plain, theirs, file_type)
    synthesize(ours, shape, file_type, leave=0)
    assert types_in(ours) == types_in(theirs)


@pytest.mark.parametrize("type_", [*FIELDS, GGMLType.F32, GGMLType.F16, GGMLType.BF16], ids=lambda type_: type_.name)
def test_random_weights_have_mean_zero_and_the_size_asked_for(type_: GGMLType) -> None:
    pool = Pool(type_, 100_000)
    for deviation in (1.0, 1e-3):
        data = b"".join(pool.pieces(1 << 20, deviation))
        rows = native.dequantize(type_, np.frombuffer(data, np.uint8).reshape(256, -1))
        assert rows.shape == (256, 4096)
        assert rows.std() == pytest.approx(deviation, rel=0.15)
        assert abs(rows.mean(0)).max() < 6 * deviation / 16
        assert abs(rows.mean(1)).max() < 8 * deviation / 64
        assert len(np.unique(rows, axis=0)) == 256, "rows repeat"


def test_many_threads_write_the_same_file(tmp_path: Path) -> None:
    shape = small("llama3.1-8b")
    alone, together = tmp_path / "alone.gguf", tmp_path / "together.gguf"
    synthesize(alone, shape, leave=0)
    together.touch()
    fill(together, shape, threads=3)
    assert together.read_bytes() == alone.read_bytes()
    assert alone.stat().st_size <= size_of(shape, "Q4_K_M")


def test_llama_3_frequencies() -> None:
    """Three of the 64 factors of Llama 3.1's own files."""
    factors = next(t for t in layout(small("llama3.1-8b", "head_dim=128")).tensors if t.name == "rope_freqs.weight")
    assert factors.values[[0, 63]] == pytest.approx([1, 8])
    assert 1 < factors.values[32] < 8


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, int(42e9)))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"takes 42\.. GB and 20\.0 GB are to stay free, but the disk has 42\.0 GB"):
        synthesize(tmp_path / "x.gguf", SHAPES["llama3.3-70b"], leave=int(20e9))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llama9", "x.gguf"], "no shape 'llama9'; choose one of smollm2-135m"),
        (["llama3.1-8b", "x.gguf", "--type", "Q9"], "no file type 'Q9'; choose one of F32"),
        (["llama3.1-8b", "x.gguf", "--set", "layers=3"], "the field one of n_layer"),
        (["llama3.1-8b", "x.gguf", "--set", "n_layer=many"], "'many' is no number"),
        (["llama3.1-8b", "x.gguf", "--set", "n_vocab=100"], "tokenizer alone take"),
        (["llama3.1-8b", "x.gguf", "--set", "n_layer=0"], "n_layer=0: it must be at least 1"),
        (["llama3.1-8b", "x.gguf", "--set", "n_head_kv=5"], "32 heads cannot share 5"),
        (["llama3.1-8b", "missing/x.gguf"], "missing or not writable"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["synth", *arguments])
    assert synth.main() == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="memory and reads are looked up in /proc")
def test_scale_of_a_small_model(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    synthesize(path, small("llama3.1-8b"), leave=0)
    with Model.open(path) as model:
        measured = scale.Scale(model, 5, 4, 2, None)
        rows = {row.step: row for row in measured.rows()}
        assert all(len(measured.cells(row)) == len(scale.HEADINGS) for row in rows.values())
    layer, last = 128 * 256 + 256 * 256 + 2 * 512 * 256, 256 * 256 + 2 * 512 * 256  # v, output, up and down
    linear_path = 2 * 4 * (2 * 5 * layer + 5 * 128 * 256 + last)  # the last layer goes on at one position
    assert rows["forward, 4 columns"].flops == pytest.approx(linear_path, rel=0.02)  # and products with probabilities
    assert rows["backward, 4 columns"].flops == pytest.approx(linear_path, rel=0.02)
    (triplets,) = (row for step, row in rows.items() if "top 2 triplets" in step)
    assert triplets.flops > 4 * 2.5 * linear_path, "at least four sweeps of ten columns"
    assert all(row.seconds > 0 and 50 << 20 < row.memory < 4 << 30 for row in rows.values())


def test_results_keep_the_sections_that_are_not_measured_anew() -> None:
    kept = {"growth": "a table\n\n| x |", "full_map": "another"}
    text = results.document(kept)
    assert results.sections_of(text) == kept
    assert text.index("## full_map") < text.index("## growth"), "sections have an order of their own"
    assert results.document(results.sections_of(text)) == text


def test_growth_is_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    seen = [
        growth.Point(name, x, 1, (x, 2 * x, 3 * x), (x / 2, x, x)) for name in ("columns", "tokens") for x in (1, 4)
    ]
    growth.plot(seen, tmp_path / "growth.svg")
    assert "<svg" in (tmp_path / "growth.svg").read_text()
