"""Torch devices: the same map through tile-wise expansion, packed weights that stay, and a 70B model's memory."""

from __future__ import annotations

from collections.abc import Iterator

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from conftest import IDS
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps import sweeps
from ggufjac.maps.costs.planner import Planner
from ggufjac.maps.costs.rehearsal import EmptyKernels
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of
from ggufjac.operators.walk import weights
from ggufjac.quants.device import products as device_products
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.devices import OutOfMemory, available, device_called
from ggufjac.quants.memory.road import BUFFERS, Road
from ggufjac.quants.memory.spread import evenly_spread
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
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


@pytest.mark.parametrize("room", [GIB, 0])
def test_weights_come_once_for_all_pieces_of_a_block(
    room: int, quantised: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is room for those of a layer, and no longer than that."""
    road = Counting(CPU)
    store = DeviceWeights(CPU, keep=0, road=road)
    map_ = stored(quantised, store)
    x, y = torch.randn(6, len(IDS), quantised.family.d), torch.randn(6, quantised.family.d)
    monkeypatch.setattr(sweeps, "folded_within", lambda _: room)
    monkeypatch.setattr(sweeps, "fold", lambda op, *_: op)
    found, sent = [], []
    for columns in (6, 2):
        monkeypatch.setattr(sweeps, "piece_columns", lambda *_, columns=columns: columns)
        before = road.sent
        found.append((map_.matmat(x), map_.rmatmat(y)))
        sent.append(road.sent - before)
    assert sent[1] == (1 if room else 3) * sent[0]
    assert store.kept_bytes == 0
    for whole, pieces in zip(*found, strict=True):
        assert relative(pieces, whole) < 1e-6


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


def test_experts_count_each() -> None:
    """The matrices of a stack have one name; layers of them are spread as evenly as others."""
    layers = []
    for i in range(8):
        stack = QuantTensor(f"experts.{i}", GGMLType.Q8_0, 32, np.zeros((12, 34), np.uint8))
        layers.append([stack.rows(row, row + 4) for row in (0, 4, 8)])
    store = DeviceWeights(CPU, keep=4 * 12 * 34)
    store.arrange(layers)
    assert [store.stays(f"experts.{i}") for i in range(8)] == [False, True] * 4
    first, second = layers[1][:2]
    assert len(list(store.chunks(first))) == 1
    assert store.has(first)
    assert not store.has(second)
    assert store.holds(first.name)
    while store.release():
        pass
    assert not store.holds(first.name)


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


def test_pieces_of_a_matrix_begin_at_even_rows() -> None:
    """Where results of fast products begin: 14336 columns of Q4_K are 8064 bytes a row, of which 32 MiB hold 4161."""
    weight = QuantTensor("w", GGMLType.Q4_K, 14336, np.zeros((9000, 8064), np.uint8))
    store = DeviceWeights(CPU, kernels=EmptyKernels())
    chunks = list(store.chunks(weight))
    tiles = [tile for chunk, packed in chunks for tile, _ in device_products._tiles(packed, 14336, chunk.start)]
    assert len(tiles) > len(chunks) > 1
    assert not any(piece.start % 64 for piece in (*tiles, *(chunk for chunk, _ in chunks)))
    assert tiles[-1].stop == 9000


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


def test_weights_make_room_for_the_last_columns(quantised: Model) -> None:
    """Also those of layers that are made anew for every sweep; then there are as many columns as before."""
    y = torch.randn(9, quantised.family.d)
    tight = Tight()
    store = DeviceWeights(CPU, GIB, tight)
    with torch.no_grad():
        run = run_of(IDS, store=store)
        done = propagate(quantised.family, run, quantised.embed(IDS), keep=0)
    map_ = DetachedMap(tuple(IDS), done)
    whole, before = map_.rmatmat(y), store.kept_bytes

    def apply(type: GGMLType, packed: Tensor, n_in: int, x: Tensor) -> Tensor | None:
        if store.kept_bytes > before // 2:
            raise OutOfMemory("no more")
        return None

    tight.apply = tight.adjoint = apply  # type: ignore[assignment,method-assign]
    assert torch.equal(map_.rmatmat(y), whole)
    assert 0 < store.kept_bytes <= before // 2
    assert map_.cut(9, transposed=True) == (9, False)


def test_devices_that_are_not_there_are_named() -> None:
    assert available()[0] == "cpu"
    for name in ("cuda:99", "tpu", "nonsense"):
        if name.split(":")[0] not in available():
            with pytest.raises(UserError, match="use cpu"):
                device_called(name)


# --- 70B on one consumer card ---------------------------------------------------------------------------------

N_LAYER, N_EMBD, N_FF, N_HEAD, N_HEAD_KV, N_VOCAB = 80, 8192, 28672, 64, 8, 128256
Q4, Q6, F32 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K, gguf.GGMLQuantizationType.F32


@pytest.fixture(scope="module")
def llama_70b(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Llama 3.3 70B in Q4_K_M as its header describes it; the weights are a hole in the file."""
    path = tmp_path_factory.mktemp("70b") / "llama-70b.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(N_LAYER)
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
    for i in range(N_LAYER):
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


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A card with kernels of its own, as far as a planner looks at it."""
    monkeypatch.setattr("ggufjac.maps.costs.planner.kernels_of", lambda device: EmptyKernels(fast_halves=True))
    return torch.device("cuda")


@pytest.mark.parametrize(
    ("memory", "columns", "dtype"),
    [(24, N_EMBD, torch.float32), (24, N_EMBD, torch.bfloat16), (12, N_EMBD, torch.float32), (6, 16, torch.float32)],
)
def test_a_70b_model_fits_a_consumer_card(
    memory: int, columns: int, dtype: torch.dtype, llama_70b: Model, card: torch.device
) -> None:
    """The full map of 8 tokens in 24 GiB and in 12 GiB, which it leaves in parts, and the sweeps of its top-8 triplets
    in 6 GiB; the weights that stay on the card, as many as three quarters of it hold, are among what it takes."""
    plan = Planner(llama_70b.family, 8, memory * GIB, dtype, device=card)
    sweeps = [plan.sweep(columns, transposed=way) for way in (True, False)[: 1 if columns == N_EMBD else 2]]
    assert 0.7 * memory * GIB < plan.resident <= 0.75 * memory * GIB
    for sweep in sweeps:
        assert plan.resident < plan.peak(sweep) < 0.9 * memory * GIB
        assert sweep.flops > 1e12
    step, away = plan.map.cut(columns, transposed=True)
    assert (step == columns) == (memory != 12)
    assert away == (memory == 12)
