"""Torch devices: the same map through tile-wise expansion, packed weights that stay, and a 70B model's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from conftest import IDS
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps.costs.rehearsal import Rehearsal
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import LinearMap
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of
from ggufjac.operators.walk import coefficient_bytes, weights
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.devices import OutOfMemory, available, device_called
from ggufjac.quants.memory.road import BUFFERS, Road
from ggufjac.quants.memory.spread import evenly_spread
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.reader.types import GGMLType
from tinymodels import make

CPU = torch.device("cpu")
GIB = 1 << 30


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp("device")
    target = folder / "q4.gguf"
    quantize(make("llama", folder / "f32.gguf", n_layer=5), target, "Q4_K_M")
    with Model.open(target) as model:
        yield model


def stored(model: Model, store: DeviceWeights, dtype: torch.dtype = torch.float32) -> DetachedMap:
    """The map whose products take their weights from a device's store."""
    with torch.no_grad():
        done = propagate(model.family, run_of(IDS, store=store), model.embed(IDS, dtype))
    return DetachedMap(tuple(IDS), done)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_torch_device_gives_the_same_map(quantised: Model, dtype: torch.dtype) -> None:
    """The processor as torch sees it takes the path of every other device."""
    kernels = quantised.linearize(IDS, dtype=dtype)
    store = DeviceWeights(CPU, keep=GIB)
    tiles = stored(quantised, store, dtype)
    scale = 1e-4 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(tiles.logits, kernels.logits, rtol=scale, atol=scale)
    a, b = (m.jacobian() for m in (tiles, kernels))  # the operators remember where their weights are
    assert (a - b).norm() < scale * b.norm()
    assert tiles.reconstruction_error() < (1e-5 if dtype == torch.float32 else 1e-13)
    assert 0 < store.kept_bytes <= sum(info.nbytes for info in quantised.file.tensors.values())


class Counting(Road):
    """Counts the bytes that travel."""

    sent = 0

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        self.sent += data.nbytes
        return super().send(data)


def two_sweeps(model: Model, keep: int) -> tuple[DeviceWeights, int]:
    """The store after a coefficient pass and three sweeps, and the bytes that travelled in the last two."""
    road = Counting(CPU)
    store = DeviceWeights(CPU, keep, road=road)
    map_ = stored(model, store)
    map_.rmatmat(torch.ones(1, model.family.d))
    before = road.sent
    for _ in range(2):
        map_.rmatmat(torch.ones(1, model.family.d))
    return store, road.sent - before


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_what_fits_stays_on_the_device(quantised: Model, share: float) -> None:
    _, without = two_sweeps(quantised, 0)
    store, again = two_sweeps(quantised, int(share * sum(info.nbytes for info in quantised.file.tensors.values())))
    assert store.kept_bytes <= store.keep
    assert (again == 0) == (share == 1.0)
    assert (again == without) == (share == 0.0)


def test_layers_that_stay_are_spread_evenly(quantised: Model) -> None:
    """What is chosen stays, and nothing else, whatever was there before."""
    road = Counting(CPU)
    store = DeviceWeights(CPU, keep=GIB, road=road)
    map_ = stored(quantised, store)
    layers = [list(weights(op)) for op in map_.operators]
    sizes = [sum(weight.nbytes for weight in layer) for layer in layers]
    store.keep = sum(sizes) // 2
    store.arrange(layers)
    stay = [all(store.stays(weight.name) for weight in layer) for layer in layers if layer]
    assert 0 < sum(stay) < len(stay)
    assert not stay[0]
    assert stay == evenly_spread([size for size in sizes if size], store.keep)
    a = map_.rmatmat(torch.ones(1, quantised.family.d))
    before = road.sent
    b = map_.rmatmat(torch.ones(1, quantised.family.d))
    assert road.sent - before == sum(size for size, stays in zip(filter(None, sizes), stay, strict=True) if not stays)
    assert torch.equal(a, b)
    assert store.kept_bytes == sum(size for size, stays in zip(filter(None, sizes), stay, strict=True) if stays)


class Reused(Road):
    """One that overwrites a chunk as soon as its use has been begun, as pinned buffers are."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.lent = 0
        self.most = 0

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        self.lent += 1
        self.most = max(self.most, self.lent)
        return super().send(data)

    def passed(self, there: Tensor) -> None:
        self.lent -= 1
        there.fill_(255)


@pytest.mark.parametrize("columns", [1, 200])
def test_no_chunk_is_used_after_it_passed(quantised: Model, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are more of them in use at once than there are buffers, also where MLPs are folded."""
    monkeypatch.setattr("ggufjac.quants.memory.store.CHUNK", 1 << 14)
    road = Reused()
    map_ = stored(quantised, DeviceWeights(CPU, road=road))
    y = torch.randn(columns, quantised.family.d)
    assert relative(map_.rmatmat(y), quantised.linearize(IDS).rmatmat(y)) < 1e-5
    assert road.lent == 0
    assert 1 <= road.most < BUFFERS


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


# --- a device that runs out of memory --------------------------------------------------------------------------


class Tight(Kernels):
    """Those of a device that holds products of so many rows, and of no more."""

    rows = 1 << 20

    def apply(self, type: GGMLType, packed: Tensor, n_in: int, x: Tensor) -> Tensor | None:
        if x.shape[0] > self.rows:
            raise OutOfMemory("no more")
        return None

    adjoint = apply


def test_fewer_columns_where_memory_ends(quantised: Model) -> None:
    y = torch.randn(9, quantised.family.d)
    tight = Tight()
    store = DeviceWeights(CPU, GIB, tight)
    map_ = stored(quantised, store)
    whole = map_.rmatmat(y)
    tight.rows = 2 * len(IDS)
    assert relative(map_.rmatmat(y), whole) < 1e-6
    assert map_.cut(9, transposed=True) == (2, False)
    tight.rows = 0
    with pytest.raises(UserError, match=r"too little free memory for one column of this map, which takes \d+ MiB"):
        map_.rmatmat(y)
    assert store.kept_bytes == 0


def test_devices_that_are_not_there_are_named() -> None:
    assert available()[0] == "cpu"
    for name in ("cuda:99", "tpu", "nonsense"):
        if name.split(":")[0] not in available():
            with pytest.raises(UserError, match="use cpu"):
                device_called(name)


# --- 70B on one consumer card ---------------------------------------------------------------------------------

N_LAYER, LAYERS_MADE, N_EMBD, N_FF, N_HEAD, N_HEAD_KV, N_VOCAB = 80, 2, 8192, 28672, 64, 8, 128256
Q4, Q6, F32 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K, gguf.GGMLQuantizationType.F32


@pytest.fixture(scope="module")
def llama_70b(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Some layers of Llama 3.3 70B in Q4_K_M as their header describes them; the weights are a hole in the file."""
    path = tmp_path_factory.mktemp("70b") / "llama-70b.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS_MADE)
    writer.add_context_length(131072)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)

    def add(name: str, *shape: int, kind: gguf.GGMLQuantizationType = Q4) -> None:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        packed = (*shape[:-1], shape[-1] // block * size)
        dtype = np.dtype(np.float32 if kind == F32 else np.uint8)
        writer.add_tensor_info(name, shape if kind == F32 else packed, dtype, int(np.prod(packed)), kind)

    add("token_embd.weight", N_VOCAB, N_EMBD)
    add("output.weight", N_VOCAB, N_EMBD, kind=Q6)
    add("output_norm.weight", N_EMBD, kind=F32)
    add("rope_freqs.weight", N_EMBD // N_HEAD // 2, kind=F32)
    n_kv = N_EMBD // N_HEAD * N_HEAD_KV
    for i in range(LAYERS_MADE):
        fine = Q6 if i % 2 else Q4
        add(f"blk.{i}.attn_norm.weight", N_EMBD, kind=F32)
        add(f"blk.{i}.ffn_norm.weight", N_EMBD, kind=F32)
        add(f"blk.{i}.attn_q.weight", N_EMBD, N_EMBD)
        add(f"blk.{i}.attn_k.weight", n_kv, N_EMBD)
        add(f"blk.{i}.attn_v.weight", n_kv, N_EMBD, kind=fine)
        add(f"blk.{i}.attn_output.weight", N_EMBD, N_EMBD)
        add(f"blk.{i}.ffn_gate.weight", N_FF, N_EMBD)
        add(f"blk.{i}.ffn_up.weight", N_FF, N_EMBD)
        add(f"blk.{i}.ffn_down.weight", N_EMBD, N_FF, kind=fine)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    size = sum(-(-info.nbytes // 32) * 32 for tensors in writer.tensors for info in tensors.values())
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.truncate(-(-file.tell() // 32) * 32 + size)
    with Model.open(path) as model:
        yield model


class Hollow(Road):
    """Weights without numbers on a device that need not exist."""

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        return torch.empty(data.nbytes, dtype=torch.uint8, device=self.device)


@pytest.mark.parametrize("name", ["meta", "cuda"])
@pytest.mark.parametrize(("budget", "columns"), [(12 * GIB, N_EMBD), (4 * GIB, 16)], ids=["full map", "triplets"])
def test_a_70b_model_fits_a_consumer_card(name: str, budget: int, columns: int, llama_70b: Model) -> None:
    """The full map of 8 tokens in 12 GiB, and the sweeps of its top-8 triplets in 4 GiB, weights that stay included.

    torch without CUDA cannot slice fake tensors of that device, so tensors of its "meta" device stand in for them.
    """
    if name == "cuda" and not torch.backends.cuda.is_built():
        pytest.skip("this torch is built without CUDA")
    device = torch.device(name)
    store = DeviceWeights(device, keep=budget // 2, road=Hollow(device))
    fake = FakeTensorMode(allow_non_fake_inputs=True) if name == "cuda" else nullcontext()
    with torch.no_grad(), fake, Rehearsal() as seen:
        x = torch.empty(8, N_EMBD, device=name)
        trace = propagate(llama_70b.family, run_of([0] * 8, store=store), x, keep=budget // 4)
        map_ = LinearMap(x, (*trace.layers, trace.final), trace.output[0], Budget(budget // 2))
        if columns == N_EMBD:
            assert map_.jacobian().shape == (N_EMBD, 8, N_EMBD)
        else:
            assert map_.rmatmat(torch.empty(columns, N_EMBD, device=name)).shape == (columns, 8, N_EMBD)
            assert map_.matmat(torch.empty(columns, 8, N_EMBD, device=name)).shape == (columns, N_EMBD)
        others = (N_LAYER - LAYERS_MADE) / (LAYERS_MADE - 1)  # the last layer, of one position, is among those made
        held = coefficient_bytes(map_.operators) + trace.states_bytes
    assert store.kept_bytes > 0.9 * min(store.keep, 0.5e9 * LAYERS_MADE)
    assert seen.peak + others * held + store.keep - store.kept_bytes < budget
    assert seen.flops > 1e11
