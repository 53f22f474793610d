"""Products with packed weights at the shapes of large models, beside the library's on expanded weights.

Narrow blocks wait for the weights: their rate is in packed bytes, beside what a copy moves. Wide blocks wait for the
arithmetic: theirs is in operations, beside the library's product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from benchmarks.device.aims import NARROW_ROWS, NARROW_SHARE, WIDE_SHARE
from benchmarks.device.check import Check, attempted, relative
from benchmarks.device.kernels import fused, kernels_for, tiles
from benchmarks.device.kernels import narrow as narrowest
from benchmarks.device.rows import Row
from benchmarks.device.timing import Times, each
from benchmarks.device.weights import matrix
from ggufjac.quants import products
from ggufjac.quants.device.choice import kernels_of
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
from ggufjac.quants.torch_formats import dequantize_blocks
from ggufjac.reader.types import GGMLType

PHASE = "products"
FIRST = GGMLType.Q4_K
OTHERS = (GGMLType.Q6_K, GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.F16, GGMLType.IQ4_XS, GGMLType.MXFP4)
DTYPES = (torch.float32, torch.bfloat16)
#: How many shapes, and which blocks, the other types are timed with.
OTHER_SHAPES, OTHER_NARROW, OTHER_WIDE = 2, (1, 8, 32), (1024,)
#: What products may differ from the library's.
ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

#: The same product with one copy of the weights after the other.
Works = Sequence[Callable[[], Tensor]]


def rows(check: Check) -> Iterator[Row]:
    scale = check.settings.scale
    for shape in scale.shapes:
        yield from narrow(check, Weights(check, FIRST, shape), scale.narrow, DTYPES)
    for shape in scale.shapes:
        yield from wide(check, Weights(check, FIRST, shape), scale.wide, DTYPES)
    for kind in OTHERS if check.settings.all_types else ():
        for shape in scale.shapes[:OTHER_SHAPES]:
            weights = Weights(check, kind, shape)
            yield from narrow(check, weights, [m for m in OTHER_NARROW if m in scale.narrow], DTYPES[:1])
            yield from wide(check, weights, [m for m in OTHER_WIDE if m in scale.wide], DTYPES)


class Weights:
    """One matrix in as many copies as no cache holds: in host memory, packed on the device, and expanded there."""

    def __init__(self, check: Check, kind: GGMLType, shape: tuple[int, int]) -> None:
        self.kind, self._check = kind, check
        self.n_out, self.n_in = shape
        nbytes = self.n_out * self.n_in // kind.block * kind.block_bytes
        copies = max(1, math.ceil(check.settings.scale.rotated / nbytes))
        self.quant = [QuantTensor(str(i), kind, self.n_in, matrix(kind, *shape, seed=i)) for i in range(copies)]
        self.nbytes = nbytes
        self.store = self.stored(kernels_of(check.card.device))
        self.name = f"{kind.name} {self.n_out}x{self.n_in}"

    def stored(self, kernels: Kernels) -> DeviceWeights | None:
        """All copies on the device, where these kernels multiply with them; None on the CPU."""
        device = self._check.card.device
        if device.type == "cpu":
            return None
        store = DeviceWeights(device, 2 * len(self.quant) * self.nbytes, kernels)
        store.arrange([[weight] for weight in self.quant])
        return store

    @cached_property
    def packed(self) -> list[Tensor]:
        return [torch.from_numpy(weight.data).to(self._check.card.device) for weight in self.quant]

    def expanded(self, dtype: torch.dtype) -> list[Tensor]:
        nbytes = self.n_out * self.n_in * dtype.itemsize
        first = self.unpacked(self.packed[0]).to(dtype)
        copies = math.ceil(self._check.settings.scale.rotated / nbytes)
        return [first, *(first.clone() for _ in range(copies - 1))]

    def unpacked(self, packed: Tensor) -> Tensor:
        return dequantize_blocks(self.kind, packed.reshape(-1, self.kind.block_bytes)).reshape(self.n_out, self.n_in)

    def block(self, m: int, dtype: torch.dtype, *, transposed: bool) -> Tensor:
        generator = torch.Generator().manual_seed(m)
        block = torch.randn(m, self.n_out if transposed else self.n_in, generator=generator)
        return block.to(self._check.card.device, dtype)

    def engine(self, x: Tensor, *, transposed: bool, store: DeviceWeights | None = None) -> Works:
        """The products as an analysis makes them, or with another store."""
        product = products.adjoint if transposed else products.apply
        return [partial(product, weight, x, store or self.store) for weight in self.quant]


def narrow(check: Check, weights: Weights, widths: Sequence[int], dtypes: Sequence[torch.dtype]) -> Iterator[Row]:
    """Few rows: the library on expanded weights, the fused kernels in all variants, and the products of an analysis."""
    kernels = kernels_for(check.card.device, weights.kind, weights.n_in)
    yield from expansion(check, weights)
    for dtype in dtypes:
        expanded = weights.expanded(dtype)
        for transposed in (False, True):
            series = _series(weights, dtype, transposed)
            for m in widths:
                x = weights.block(m, dtype, transposed=transposed)
                library = [partial(torch.matmul, x, w if transposed else w.T) for w in expanded]
                base = each(check.card, library, check.settings.scale.seconds, captured=True)
                reference = library[0]()
                bytes_ = expanded[0].nbytes
                row = replace(series, at=str(m), unit="GB/s")
                yield _rated(replace(row, way="library", minor=True), base, bytes_, check.copies)
                row = replace(row, allowed=ALLOWED[dtype])
                ways: dict[str, tuple[Works, bool]] = {}
                if kernels is not None and m <= narrowest():
                    product = partial(fused, kernels, transposed=transposed)
                    others = tiles(weights.kind, m, x.device, transposed=transposed) if check.settings.tiles else {}
                    for name, tile in {"": None, **others}.items():
                        made = [partial(product, weights.kind, p, weights.n_in, x, tile=tile) for p in weights.packed]
                        ways[f"kernel {name}".strip()] = made, True
                ways["engine"] = weights.engine(x, transposed=transposed), False
                for way, (works, captured) in ways.items():
                    mine = replace(row, way=way, minor=way == "engine" and len(ways) > 1)
                    if way == "kernel" and weights.kind is FIRST and m <= NARROW_ROWS and dtype is torch.float32:
                        mine = replace(mine, aim_share=NARROW_SHARE if check.aims else None)
                    yield attempted(
                        check.card,
                        mine,
                        partial(_narrow, check, mine, works, captured, weights.nbytes, reference, base.median),
                    )


def _narrow(check: Check, row: Row, works: Works, captured: bool, nbytes: int, wanted: Tensor, base: float) -> Row:
    error = relative(works[0](), wanted)
    with check.card.watched() as peak:
        times = each(check.card, works, check.settings.scale.seconds, captured=captured)
    launched = each(check.card, works, check.settings.scale.seconds).median if captured else None
    note = f"library {base / times.median:.1f}x" + ("" if times.captured == captured else ", Python's time included")
    row = replace(row, error=error, peak=peak.bytes, launched=launched, note=note)
    return _rated(row, times, nbytes, check.copies)


def expansion(check: Check, weights: Weights) -> Iterator[Row]:
    """Expanding all of a matrix: bytes written per second, and read and written beside a copy."""
    kernels = kernels_for(check.card.device, weights.kind, weights.n_in)
    for dtype in DTYPES:
        row = Row(PHASE, f"{weights.name} expanded", _name(dtype), _name(dtype), unit="GB/s")
        expand: Callable[[Tensor], Tensor] = (
            partial(_torch_expand, weights, dtype)
            if kernels is None
            else partial(_kernel_expand, kernels.expand, weights, dtype)
        )
        row = replace(row, way="torch" if kernels is None else "kernel")
        works: Works = [partial(expand, packed) for packed in weights.packed]

        def work(row: Row = row, works: Works = works, dtype: torch.dtype = dtype) -> Row:
            with check.card.watched() as peak:
                times = each(check.card, works, check.settings.scale.seconds, captured=kernels is not None)
            written = weights.n_out * weights.n_in * dtype.itemsize
            share = (written + weights.nbytes) / times.median / check.copies
            return replace(_rated(row, times, written, check.copies), share=share, peak=peak.bytes)

        yield attempted(check.card, row, work)


def _torch_expand(weights: Weights, dtype: torch.dtype, packed: Tensor) -> Tensor:
    return weights.unpacked(packed).to(dtype)


def _kernel_expand(
    expand: Callable[[GGMLType, Tensor, int, torch.dtype], Tensor], weights: Weights, dtype: torch.dtype, packed: Tensor
) -> Tensor:
    return expand(weights.kind, packed, weights.n_in, dtype)


def wide(check: Check, weights: Weights, widths: Sequence[int], dtypes: Sequence[torch.dtype]) -> Iterator[Row]:
    """Many rows: the products of an analysis beside the library's."""
    for dtype in dtypes:
        expanded = weights.expanded(dtype)[0]
        for transposed in (False, True):
            series = _series(weights, dtype, transposed)
            for m in widths:
                x = weights.block(m, dtype, transposed=transposed)
                library = partial(torch.matmul, x, expanded if transposed else expanded.T)
                base = each(check.card, [library], check.settings.scale.seconds)
                flops = 2 * m * weights.n_out * weights.n_in
                row = replace(series, at=str(m), unit="TFLOP/s")
                yield replace(_timed(row, base), way="library", rate=flops / base.median / 1e12, minor=True)
                aimed = check.aims and weights.kind is FIRST and dtype is torch.float32
                row = replace(row, way="engine", allowed=ALLOWED[dtype])
                for way, store in _precisions(check, weights, dtype).items():
                    mine = replace(row, way=way, aim_share=WIDE_SHARE if aimed and way == "engine" else None)
                    works = weights.engine(x, transposed=transposed, store=store)
                    yield attempted(check.card, mine, partial(_wide, check, mine, works, library, flops, base))


def _precisions(check: Check, weights: Weights, dtype: torch.dtype) -> dict[str, DeviceWeights | None]:
    """The engine's own way, and for float32 the other one: by one product of float32, or by three of float16 parts."""
    usual = kernels_of(check.card.device)
    if dtype is not torch.float32 or weights.store is None:
        return {"engine": weights.store}
    name = "engine, one product" if usual.fast_halves else "engine, three of halves"
    return {"engine": weights.store, name: weights.stored(type(usual)(fast_halves=not usual.fast_halves))}


def _wide(check: Check, row: Row, works: Works, library: Callable[[], Tensor], flops: int, base: Times) -> Row:
    error = relative(works[0](), library())
    with check.card.watched() as peak:
        times = each(check.card, works, check.settings.scale.seconds)
    row = replace(_timed(row, times), error=error, peak=peak.bytes, rate=flops / times.median / 1e12)
    return replace(row, share=base.median / times.median)


def _series(weights: Weights, dtype: torch.dtype, transposed: bool) -> Row:
    what = f"{weights.name} {'adjoint' if transposed else 'apply'}"
    return Row(PHASE, what, dtype=_name(dtype))


def _rated(row: Row, times: Times, nbytes: int, copies: float) -> Row:
    rate = nbytes / times.median
    return replace(_timed(row, times), rate=rate / 1e9, share=rate / copies)


def _timed(row: Row, times: Times) -> Row:
    return replace(row, seconds=times.median, least=times.least, first=times.first, runs=times.runs)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
