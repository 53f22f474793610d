"""Every family, every analysis and every way to run a text with values on a device that is not the CPU.

The device is `pretend`: it needs no hardware, and whatever mixes its values with the CPU's raises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import results
from conftest import IDS, printed
from ggufjac.analyses.analyze import analyze
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.judge.explain import explain
from ggufjac.analyses.layers import layers
from ggufjac.analyses.options import (
    AnalyzeOptions,
    AttributeOptions,
    BatchOptions,
    ExplainOptions,
    LayersOptions,
    OrdinaryOptions,
    Planned,
    SteerOptions,
)
from ggufjac.analyses.ordinary import ordinary
from ggufjac.analyses.plan import plan
from ggufjac.analyses.steer.steering import steer
from ggufjac.analyses.table import COMMANDS, KINDS
from ggufjac.batch.prompts import PromptLine
from ggufjac.batch.run import run_batch, sources
from ggufjac.batch.store import reading
from ggufjac.batch.units import Resources, units_of
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps.model import Model
from ggufjac.maps.within.hooks import Activations
from ggufjac.network.texts import Reading
from ggufjac.quants import products
from ggufjac.quants.memory import devices
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
from ggufjac.quants.torch_formats import dequantize_blocks
from ggufjac.reader.types import INTEGERS, GGMLType
from tinymodels import FAMILIES, make

pretend = pytest.importorskip("pretend", reason="this torch takes no device from Python", exc_type=ImportError)

ALL = ("cpu", "pretend")

#: Variants that go other ways on a device than the family's plain form does.
VARIANTS = (
    ("llama", "biases"),
    ("llama", "experts"),
    ("llama", "grouped experts"),
    ("llama", "longrope"),
    ("deepseek2", "v2, v3"),
    ("deepseek2", "temperature"),
    ("gemma4", "e2b"),
    ("granitehybrid", "experts"),
    ("mpt", "positions"),
)


def normal(*shape: int) -> torch.Tensor:
    """The same random numbers every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


CASES = [*((family, "") for family in FAMILIES), *VARIANTS]


@pytest.mark.parametrize(("family", "variant"), CASES, ids=lambda x: x or "plain")
def test_a_map_is_the_same_on_a_device(family: str, variant: str, tmp_path: Path) -> None:
    overrides = FAMILIES[family].variants[variant] if variant else {}
    with Model.open(make(family, tmp_path / "tiny.gguf", **overrides)) as model:
        there = model.linearize(IDS[:5], device="pretend", memory=1 << 30)
        here = model.linearize(IDS[:5])
        assert there.inputs.device.type == "pretend"
        y, x = normal(2, here.shape[0]), normal(2, *here.shape[1:])
        pulled, pushed = there.rmatmat(y.to("pretend")), there.matmat(x.to("pretend"))
        assert pulled.device.type == pushed.device.type == "pretend"
        for found, expected in ((there.logits, here.logits), (pulled, here.rmatmat(y)), (pushed, here.matmat(x))):
            assert (found.cpu() - expected).norm() < 1e-5 * expected.norm()
        assert there.reconstruction_error() < 1e-5
        with pretend.crossings() as seen:
            there.rmatmat(y.to("pretend"))
            there.matmat(x.to("pretend"))
        assert len(seen) == 2, seen


@pytest.mark.parametrize(("overrides", "more"), [({}, 0), ({"experts": 4}, 2)], ids=["dense", "experts"])
def test_a_layer_waits_for_its_own_weights_alone(overrides: dict[str, Any], more: int, tmp_path: Path) -> None:
    """What a pass carries to the device for one layer more; of a mixture also its routes, there and back."""
    carried = []
    for n_layer in (2, 4):
        path = make("llama", tmp_path / f"{n_layer}.gguf", n_layer=n_layer, **overrides)
        with Model.open(path) as model, pretend.crossings() as seen:
            model.linearize(IDS[:5], device="pretend", memory=1 << 30)
            products = {name for name in model.file.tensors if name.startswith("blk.1.") and "_exps" not in name}
        carried.append(len(seen))
        experts = 3 * 4 if overrides else 0
    assert carried[1] - carried[0] <= 2 * (len(products) + experts + more)


def test_what_a_map_hands_out_on_a_device(tiny: Model) -> None:
    here, there = (tiny.linearize(IDS[:4], dtype="float64", device=name) for name in ALL)
    x = np.random.default_rng(1).standard_normal(4 * tiny.family.d)
    np.testing.assert_allclose(there.to_scipy() @ x, here.to_scipy() @ x)
    np.testing.assert_allclose(there.to_scipy().T @ x[: tiny.family.d], here.to_scipy().T @ x[: tiny.family.d])
    one, other = (Activations(linear.forward_pass) for linear in (there, here))
    for name in other:
        torch.testing.assert_close(one[name].cpu(), other[name])
    u, s, v, _ = there.svd(2)
    assert (there.matmat(v) - s[:, None] * u).norm() < 1e-2 * s.norm()


def test_a_full_map_on_the_disk_has_its_spectra_on_the_device(tiny: Model) -> None:
    small = tiny.linearize(IDS[:6], device="pretend", memory=400 << 10)
    assert small.jacobian().device.type == "cpu"
    found, expected = small.svd(2), tiny.linearize(IDS[:6]).svd(2)
    assert found.V.device.type == "pretend"
    torch.testing.assert_close(found.S.cpu(), expected.S, rtol=1e-4, atol=1e-5)
    squares, exact = small.squared_norms(found)
    assert exact
    assert float(squares.sum()) > float(found.S.square().sum())


@pytest.mark.parametrize("kind", [kind for kind in GGMLType if kind not in INTEGERS], ids=lambda kind: kind.name)
def test_every_format_is_expanded_where_the_bytes_are(kind: GGMLType) -> None:
    packed = torch.arange(8 * kind.block_bytes).mul(37).to(torch.uint8).reshape(8, -1)
    expected, there = dequantize_blocks(kind, packed), packed.to("pretend")
    with pretend.crossings() as seen:
        found = dequantize_blocks(kind, there)
    assert len(seen) <= 1  # a codebook, which is kept for devices whose tensors are no subclass
    assert torch.equal(found.cpu().nan_to_num(), expected.nan_to_num())


# --- analyses -------------------------------------------------------------------------------------------------

#: What rounding decides alone: how far something is from being exact, how long it took, and where that was.
ROUNDING = {
    "device",
    "seconds",
    "residual",
    "reconstruction",
    "error",
    "exactness",
    "noise",
    "remainders",
    "copying",
    "logits",
}


@pytest.fixture
def same_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches for triplets are as wide on the CPU as on a device."""
    monkeypatch.setattr("ggufjac.maps.linear.ENOUGH_ROWS", 1 << 20)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plan"])
@pytest.mark.usefixtures("same_search")
def test_an_analysis_says_the_same_on_a_device(kind: str, tiny: Model) -> None:
    here, there = (results.compute(tiny, kind, dtype="float64", device=name) for name in ALL)
    assert_same(there.to_dict(), here.to_dict())
    if "device" in here.to_dict() and kind != "explanation":
        assert here.to_dict()["device"] is None
        assert "pretend; weights expanded by torch's operations" in printed(there, 200)
    assert there.arrays.keys() == here.arrays.keys()
    for name, array in there.arrays.items():
        assert array.device.type == "cpu"
        assert array.shape == here.arrays[name].shape, name


@pytest.mark.parametrize("what", ["analyze", "full"])
def test_a_plan_for_a_device(what: Planned, tiny: Model) -> None:
    """Weights that stay count, and only what streams by is read in a sweep."""
    roomy, tight = (plan(tiny, 5, what, device="pretend", memory=memory) for memory in (1 << 30, 2 << 20))
    tensors = sum(info.nbytes for info in tiny.file.tensors.values())
    assert 0 < tight.base <= 3 << 19
    assert tight.base < roomy.base <= tensors
    sweeps = [sum(s.read for s in made.steps if "coefficient" not in s.name) for made in (roomy, tight)]
    assert sweeps[0] == 0 < sweeps[1]
    assert tight.peak < roomy.peak
    assert "weights that stay" in printed(roomy, 200)


#: Ways that the plain options do not go.
MORE: list[tuple[str, dict[str, Any]]] = [
    ("analyze", {"ordinary": True, "tokens": "combined", "target": "#300"}),
    ("analyze", {"run": "llama.cpp", "verify": True, "top": 2}),
    ("attribute", {"against": "#7", "target": ("#300", "#8"), "memory": 24 << 20}),
    ("attribute", {"above": "mean", "top": 2}),
    ("extremes", {"method": "probes", "top": 2}),
    ("layers", {"run": "llama.cpp", "what": ("layer", "attn"), "top": 2}),
    ("ablate", {"run": "llama.cpp", "components": 1, "tokens": (0, 2)}),
]


@pytest.mark.parametrize(("command", "how"), MORE, ids=lambda x: x if isinstance(x, str) else " ".join(x))
@pytest.mark.usefixtures("same_search")
def test_whatever_the_options(command: str, how: dict[str, Any], tiny: Model) -> None:
    entry = COMMANDS[command]
    here, there = (
        entry.function(tiny, IDS[:5], entry.options_class(dtype="float64", threads=1, device=name, **how)).to_dict()
        for name in ALL
    )
    assert_same(there, here)


def test_a_concept_is_exported_from_a_device(tiny: Model, tmp_path: Path) -> None:
    here, there = (
        steer(tiny, IDS[:5], IDS[5:8], SteerOptions(tokens=2, layer=1, export=str(tmp_path / name), device=name))
        for name in ALL
    )
    torch.testing.assert_close(there.arrays["control"], here.arrays["control"], rtol=1e-3, atol=1e-4)
    assert (tmp_path / "pretend").stat().st_size == (tmp_path / "cpu").stat().st_size


def assert_same(found: Any, expected: Any, at: str = "") -> None:
    """The same plain values, numbers to what rounding leaves of them."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), at
        for key in expected.keys() - ROUNDING:
            assert_same(found[key], expected[key], f"{at}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), at
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{at}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8), at
    else:
        assert found == expected, at


def test_a_quick_look_in_bfloat16(tiny: Model) -> None:
    here, there = (analyze(tiny, IDS[:4], AnalyzeOptions(dtype="bfloat16", verify=False, device=name)) for name in ALL)
    assert there.reconstruction == pytest.approx(here.reconstruction, rel=0.5)
    assert there.combined[0].sigma == pytest.approx(here.combined[0].sigma, rel=0.02)


def test_a_batch_computes_on_its_device(tiny_path: Path, tmp_path: Path) -> None:
    names = ("analyze", "attribute")
    units = units_of([PromptLine(1, "The bridge")], sources([tiny_path]), names, BatchOptions(top=2, verify=False))
    with pretend.crossings() as seen:
        assert run_batch(tmp_path / "there", units, Resources(device="pretend")).done == 2
    assert seen
    assert run_batch(tmp_path / "here", units).done == 2
    with reading(tmp_path / "here") as here, reading(tmp_path / "there") as there:
        for one, other in zip(here.rows(), there.rows(), strict=True):
            assert one["prediction"] == other["prediction"]
            assert one["logit"] == pytest.approx(other["logit"], rel=1e-5)


# --- llama.cpp's own run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "overrides"), [("llama", {"experts": 4}), ("gemma3", {"n_layer": 2})])
def test_llama_cpps_run_is_followed_on_a_device(family: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    """Q4_1 rounds the sums of blocks as well, gemma3 has a GELU that is read from a table."""
    quantize(make(family, tmp_path / "f32.gguf", **overrides), tmp_path / "tiny.gguf", "Q4_1")
    with Model.open(tmp_path / "tiny.gguf") as model:
        here, there = (model.linearize(IDS[:6], run="llama.cpp", device=name, threads=1) for name in ALL)
        y = normal(2, here.shape[0])
        pulled = there.rmatmat(y.to("pretend"))
        assert pulled.device.type == "pretend"
        assert (pulled.cpu() - here.rmatmat(y)).norm() < 1e-5 * pulled.norm()
        assert there.reconstruction_error() < 1e-5
        assert (there.logits - here.logits).abs().max() < 1e-5
        found = explain(model, IDS[:6], ExplainOptions(device="pretend", threads=1))
        assert found.remainder == pytest.approx(0, abs=1e-4)


# --- texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "deepseek2", "mamba"])
@pytest.mark.parametrize("cached", [None, False])
def test_texts_go_on_as_they_do_on_the_cpu(family: str, cached: bool | None, tmp_path: Path) -> None:
    first, more = torch.tensor([IDS[:4], IDS[4:8]]), torch.tensor([[9], [11]])
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        here, there = (Reading(model.family, 8, device=name, cached=cached) for name in ALL)
        for tokens in (first, more, more):
            logits = there.read(tokens)
            assert logits.device.type == "pretend"
            torch.testing.assert_close(logits.cpu(), here.read(tokens), rtol=1e-4, atol=1e-4)


# --- devices that lack something ------------------------------------------------------------------------------


#: What Metal lacks.
METAL = (torch.float64, torch.ops.aten.linalg_qr.default, torch.ops.aten._linalg_eigh.default)


def test_what_a_device_lacks_is_done_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decays in float64 and the small matrices of spectra; a map in float64 is refused."""
    for name in ("WITHOUT_FLOAT64", "WITHOUT_FACTORS"):
        monkeypatch.setattr(devices, name, frozenset({"pretend"}))
    with Model.open(make("granitehybrid", tmp_path / "tiny.gguf")) as model, pretend.lacking(*METAL):
        for compute, options in (
            (layers, LayersOptions(top=2, layerwise=True, device="pretend")),
            (attribute, AttributeOptions(top=2, device="pretend")),
            (ordinary, OrdinaryOptions(top=2, device="pretend")),
        ):
            compute(model, IDS[:4], options)
        steer(model, IDS[:4], IDS[4:6], SteerOptions(tokens=2, strengths=(1.0,), device="pretend"))
        with pytest.raises(UserError, match="has no float64; use float32 there"):
            model.linearize(IDS[:4], dtype="float64", device="pretend")


def test_a_device_of_a_number_that_is_not_there() -> None:
    assert "pretend" in devices.available()
    assert devices.device_called("pretend:0").type == "pretend"
    with pytest.raises(UserError, match=r"no device 'pretend:7' on this machine; use cpu.*pretend"):
        devices.device_called("pretend:7")


def test_a_device_is_the_same_under_both_of_its_names() -> None:
    """Weights that stay for one of them would be there twice otherwise."""
    assert devices.device_called("pretend") == devices.device_called("pretend:0") == torch.device("pretend", 0)


def test_what_a_card_has_free_is_asked_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch knows the share of a card that a process may take by nothing else; that share counts here."""

    def share(device: object) -> float:
        torch.cuda._utils._get_device_index(device)
        return 0.25

    told = {"mem_get_info": (60, 80), "memory_allocated": 5, "memory_reserved": 8, "current_device": 0}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", share, raising=False)
    for name in ("cuda", "cuda:1"):
        assert devices.default_budget(torch.device(name)) == int(0.9 * (0.25 * 80 - 5))


def test_weights_that_are_made_on_the_way_are_told_apart() -> None:
    """Arrays that do not lie in a file come and go, the next one where the last one was."""
    store = DeviceWeights(torch.device("pretend"), keep=1 << 20)
    x = torch.eye(64).to("pretend")
    for value in range(8):
        matrix = np.full((64, 64), value, np.float32)
        weight = QuantTensor("made", GGMLType.F32, 64, matrix.view(np.uint8))
        assert products.apply(weight, x, store).cpu().unique().tolist() == [value]
        del matrix, weight
