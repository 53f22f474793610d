"""How the kernels are launched: the grid, the sizes of tiles, and what is fixed when they are compiled.

A `Launch` is made from tensors and holds everything that a kernel is compiled and started with, so that a test can
compile for a card that is not there exactly what would run on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ggufjac.quants.triton_kernels import kernels
from ggufjac.quants.triton_kernels.formats import LAYOUTS, Layout
from ggufjac.reader.types import GGMLType

#: Rows of x up to which a product expands its weights on the way; and up to which it multiplies without matrix units,
#: whose tiles have sixteen rows.
NARROW, FEW = 64, 4
#: Programs for each multiprocessor that a product is split into, so that enough bytes are on their way.
WAVES = 4
#: Rows and weights of a tile that is expanded; rows and weights of one that a few rows are multiplied with.
EXPANDED, SLENDER = (16, 256), (8, 256)

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16}


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments in their order, what it is compiled for, and options of the compiler."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    constants: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, device: torch.device) -> None:
        with _on(device):
            self.kernel[self.grid](*self.arguments, **self.constants, **self.options)


def expansion(type: GGMLType, packed: Tensor, out: Tensor) -> Launch:
    """packed, uint8 [n_out, row_bytes], into out [n_out, n_in], whose type is float32, float64, float16 or bfloat16."""
    layout, (rows, groups) = LAYOUTS[type], _tile(type, EXPANDED)
    n_out, n_in = out.shape
    grid = triton.cdiv(n_out, rows), triton.cdiv(n_in, groups * layout.group)
    return _exact(kernels.expand, grid, (packed, out, packed.shape[1], n_out, n_in), layout, rows, groups)


def split(type: GGMLType, packed: Tensor, scale: Tensor, high: Tensor, low: Tensor) -> Launch:
    """packed into two float16 [n_out, n_in] that add up to `scale` (a number on the device) times the weights."""
    layout, (rows, groups) = LAYOUTS[type], _tile(type, EXPANDED)
    n_out, n_in = high.shape
    grid = triton.cdiv(n_out, rows), triton.cdiv(n_in, groups * layout.group)
    arguments = packed, scale, high, low, packed.shape[1], n_out, n_in
    return _exact(kernels.halves, grid, arguments, layout, rows, groups)


def magnitude(type: GGMLType, packed: Tensor, n_in: int, out: Tensor) -> Launch:
    """The largest magnitude in every `EXPANDED[0]` rows into out, float32 [programs]."""
    layout, (rows, groups) = LAYOUTS[type], _tile(type, EXPANDED)
    arguments = packed, out, packed.shape[1], packed.shape[0], n_in
    return _exact(kernels.largest, (out.shape[0],), arguments, layout, rows, groups)


def apply_parts(type: GGMLType, packed: Tensor, x: Tensor, programs: int) -> tuple[Launch, Tensor]:
    """The launch that makes the parts [splits, m, n_out] of x W^T for x [m, n_in], and where it leaves them."""
    (m, n_in), n_out = x.shape, packed.shape[0]
    rows, groups, warps = _product_tile(type, m, adjoint=False)
    across, along = triton.cdiv(n_out, rows), triton.cdiv(n_in, groups * LAYOUTS[type].group)
    return _product(kernels.apply, type, packed, x, n_out, (n_out, n_in), rows, groups, warps, across, along, programs)


def adjoint_parts(type: GGMLType, packed: Tensor, n_in: int, g: Tensor, programs: int) -> tuple[Launch, Tensor]:
    """The launch that makes the parts [splits, m, n_in] of g W for g [m, n_out], and where it leaves them."""
    (m, n_out) = g.shape
    rows, groups, warps = _product_tile(type, m, adjoint=True)
    across, along = triton.cdiv(n_in, groups * LAYOUTS[type].group), triton.cdiv(n_out, rows)
    return _product(kernels.adjoint, type, packed, g, n_in, (n_out, n_in), rows, groups, warps, across, along, programs)


@cache
def programs_on(device: torch.device) -> int:
    """Programs that a product should have at least."""
    if device.type != "cuda":
        return WAVES
    return WAVES * int(torch.cuda.get_device_properties(device).multi_processor_count)


def _product(
    kernel: Any,
    type: GGMLType,
    packed: Tensor,
    x: Tensor,
    width: int,
    shape: tuple[int, int],
    rows: int,
    groups: int,
    warps: int,
    across: int,
    along: int,
    programs: int,
) -> tuple[Launch, Tensor]:
    m, layout = x.shape[0], LAYOUTS[type]
    splits = max(1, min(along, programs // across))
    tiles = triton.cdiv(along, splits)
    out = x.new_empty(triton.cdiv(along, tiles), m, width, dtype=torch.float32)
    few = m <= FEW
    constants = {
        **_format(layout),
        "R": rows,
        "G": groups,
        "M": triton.next_power_of_2(m) if few else max(16, triton.next_power_of_2(m)),
        "TYPE": TYPES[x.dtype],
        "DOT": not few,
    }
    arguments = packed, x, out, packed.shape[1], *shape, m, tiles
    options = {"num_warps": warps, "num_stages": 2, "enable_fp_fusion": True}
    return Launch(kernel, (across, out.shape[0]), arguments, constants, options), out


def _exact(
    kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], layout: Layout, rows: int, groups: int
) -> Launch:
    """A launch whose a * b + c rounds twice, as everywhere else."""
    return Launch(kernel, grid, arguments, {**_format(layout), "R": rows, "G": groups}, {"enable_fp_fusion": False})


def _format(layout: Layout) -> dict[str, Any]:
    return {"DECODE": layout.decode, "PLANES": layout.planes, "WIDE": layout.wide}


def _tile(type: GGMLType, wanted: tuple[int, int]) -> tuple[int, int]:
    """Rows and groups of a tile of so many rows and weights."""
    rows, weights = wanted
    return rows, max(1, weights // LAYOUTS[type].group)


def _product_tile(type: GGMLType, m: int, *, adjoint: bool) -> tuple[int, int, int]:
    """Rows, groups and warps of a tile, such that the registers hold it (seen in what the compiler makes of it)."""
    if m <= FEW:
        return *_tile(type, SLENDER), 4
    large = LAYOUTS[type].group > 64
    if adjoint:
        return *_tile(type, (16 if large and m > 16 else 32, 128 if m <= 16 else 64)), 4
    if m > 32:
        return *_tile(type, (32, 64)), 8
    if large:
        return *_tile(type, (32 if m <= 16 else 16, 128)), 4
    return *_tile(type, (64, 64)), 4 if m <= 16 else 8


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Triton launches on the current device."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            yield
    else:
        yield
