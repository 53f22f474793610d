"""Whether the device's numbers are the CPU kernels': every type of weights, then a small model of every family."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.device.check import Check, attempted, relative
from benchmarks.device.kernels import fused, kernels_for, narrow
from benchmarks.device.rows import Row
from benchmarks.device.shards import sharded
from benchmarks.device.weights import WEIGHTS, matrix
from ggufjac.quants import native, products
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
from ggufjac.quants.torch_formats import dequantize_blocks
from ggufjac.reader.types import GGMLType

PHASE = "values"
#: The matrices that formats are tried on: rows that no tile divides evenly.
ROWS, COLS = 203, 768
#: What a product may be off, relative, against float64.
ALLOWED = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 1e-2}
#: What a map may be off against the CPU's.
MAPS = {torch.float32: 1e-4, torch.float64: 1e-11}
QUICK_TYPES = (GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.IQ4_XS, GGMLType.MXFP4)
#: One of each kind of layer.
QUICK_FAMILIES = ("llama", "qwen3moe", "gemma3", "mamba", "rwkv7", "deepseek2", "gpt-oss", "phi3")
N_TOKENS = 7


def rows(check: Check) -> Iterator[Row]:
    if check.settings.formats:
        for name in check.settings.formats:
            yield from _format(check, GGMLType[name])
        return
    types = QUICK_TYPES if check.settings.quick else WEIGHTS
    types = types[:2] if check.settings.scale.name == "tiny" else types
    if check.settings.shards > 1:
        yield from sharded(check, [kind.name for kind in types])
    else:
        for kind in types:
            yield from _format(check, kind)
    yield from _families(check)
    yield from _quantised(check)


# --- formats --------------------------------------------------------------------------------------------------


def _format(check: Check, kind: GGMLType) -> Iterator[Row]:
    data = matrix(kind, ROWS, COLS)
    packed = torch.from_numpy(data).to(check.card.device)
    exact = torch.from_numpy(native.dequantize(kind, data))
    kernels = kernels_for(check.card.device, kind, COLS)
    row = Row(PHASE, kind.name, "bits", allowed=0.0)
    yield attempted(check.card, row, lambda: replace(row, error=_bits(kernels, kind, packed, exact)))
    weight = QuantTensor(kind.name, kind, COLS, data)
    for dtype in ALLOWED:
        row = Row(PHASE, kind.name, _name(dtype), _name(dtype), allowed=ALLOWED[dtype])
        yield attempted(check.card, row, partial(_products, check, kernels, weight, packed, exact, row))


def _bits(kernels: Kernels | None, kind: GGMLType, packed: Tensor, exact: Tensor) -> float:
    """The share of weights, expanded in all the ways that there are, that are not the CPU's bit for bit."""
    ways = [dequantize_blocks(kind, packed.reshape(-1, kind.block_bytes)).reshape(exact.shape)]
    wanted = [exact]
    if kernels is not None:
        for dtype in ALLOWED:
            ways.append(kernels.expand(kind, packed, COLS, dtype))
            wanted.append(exact.to(dtype))
    return max(
        float((_as_bits(way.cpu()) != _as_bits(want)).double().mean()) for way, want in zip(ways, wanted, strict=True)
    )


def _as_bits(values: Tensor) -> Tensor:
    return values.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])


def _products(
    check: Check, kernels: Kernels | None, weight: QuantTensor, packed: Tensor, exact: Tensor, row: Row
) -> Row:
    """The worst error of products in both directions with blocks of all widths, made in all the ways that there are."""
    dtype: torch.dtype = getattr(torch, row.dtype)
    # the processor has no store of its own: as torch sees it, it takes the path of every other device
    store = DeviceWeights(check.card.device, 1 << 30)
    wide = exact.double()
    worst, where = -1.0, ""
    for columns in check.settings.scale.columns:
        for transposed in (False, True):
            block = torch.randn(columns, ROWS if transposed else COLS, generator=torch.Generator().manual_seed(columns))
            block = block.to(dtype)
            reference = block.double() @ (wide if transposed else wide.T)
            on_card = block.to(check.card.device)
            product = products.adjoint if transposed else products.apply
            ways: dict[str, Callable[[], Tensor]] = {"": partial(product, weight, on_card, store)}
            if kernels is not None and columns <= narrow() and dtype is not torch.float64:
                ways[" kernel"] = partial(fused, kernels, weight.type, packed, COLS, on_card, transposed=transposed)
            for name, way in ways.items():
                error = relative(way().cpu(), reference)
                if not error <= worst:
                    worst, where = error, f"{columns} {'adjoint' if transposed else 'apply'}{name}"
    return replace(row, error=worst, note=f"worst: {where}")


# --- models ---------------------------------------------------------------------------------------------------


def _families(check: Check) -> Iterator[Row]:
    """Small models with random float32 weights: the full map on the device and on the CPU."""
    sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
    from tinymodels import FAMILIES, VOCAB_SIZE, make

    names = QUICK_FAMILIES if check.settings.quick or check.settings.scale.families else tuple(FAMILIES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        for name in names[: check.settings.scale.families or None]:
            for dtype in MAPS:
                row = Row(PHASE, "families", name, _name(dtype), allowed=MAPS[dtype])

                def work(row: Row = row, name: str = name) -> Row:
                    return _map(check, make(name, path), VOCAB_SIZE, row)

                yield attempted(check.card, row, work)


def _quantised(check: Check) -> Iterator[Row]:
    """Small models with quantised weights, one of each architecture that `benchmarks.synth` knows."""
    from benchmarks.device.scales import TINY
    from benchmarks.synth import fill
    from benchmarks.synthetic.shapes import SHAPES, named

    one_of_each = {shape.arch: name for name, shape in reversed(SHAPES.items())}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        for name in list(one_of_each.values())[: 1 if check.settings.scale.name == "tiny" else None]:
            row = Row(PHASE, "quantised models", name, "float32", allowed=MAPS[torch.float32])
            experts = ("n_expert=8", "n_expert_used=2") if SHAPES[name].n_expert else ()

            def work(row: Row = row, name: str = name, experts: tuple[str, ...] = experts) -> Row:
                path.touch()
                fill(path, named(name, (*TINY, *experts)))
                return _map(check, path, 512, row)

            yield attempted(check.card, row, work)


def _map(check: Check, path: Path, n_vocab: int, row: Row) -> Row:
    from ggufjac.maps.model import Model

    ids = np.random.default_rng(7).integers(3, n_vocab, N_TOKENS).tolist()
    with Model.open(path) as model, torch.no_grad():
        dtype: torch.dtype = getattr(torch, row.dtype)
        theirs = model.linearize(ids, dtype=dtype, device=str(check.card.device))
        ours = model.linearize(ids, dtype=dtype)
        return replace(row, error=relative(theirs.jacobian().cpu(), ours.jacobian()))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
