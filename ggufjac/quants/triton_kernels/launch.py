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
from ggufjac.quants.triton_kernels.formats import LAYOUTS
from ggufjac.reader.types import GGMLType

#: Rows of x up to which a product expands its weights on the way; and up to which it multiplies without matrix units,
#: whose tiles have sixteen rows.
NARROW, FEW = 64, 4
#: Programs for each multiprocessor that a product is split into, so that enough bytes are on their way.
WAVES = 4

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16}


@dataclass(frozen=True)
class Tile:
    """Rows of W and weights of each that a program has in hand, and by how many warps; dot: whether on matrix units.
    most: rows of x at most."""

    rows: int
    weights: int
    warps: int = 4
    dot: bool = False
    most: int = 4

    def groups(self, type: GGMLType) -> int:
        """Groups of weights of a row: one at least."""
        return max(1, self.weights // LAYOUTS[type].group)


@dataclass(frozen=True)
class Card:
    """What the sizes of a launch depend on. programs: as many as a product should have at least; hopper: whether the
    matrix units read from shared memory, which leaves registers for larger tiles (compute capability 9.0)."""

    programs: int
    hopper: bool = False


#: What is expanded at a time, and what a few rows of x are multiplied with.
EXPANDED, SLENDER = Tile(16, 256), Tile(16, 256)


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
    n_out, n_in = out.shape
    return _exact(kernels.expand, type, _grid(type, n_out, n_in), (packed, out, packed.shape[1], n_out, n_in))


def split(type: GGMLType, packed: Tensor, scale: Tensor, high: Tensor, low: Tensor) -> Launch:
    """packed into two float16 [n_out, n_in] that add up to `scale` (a number on the device) times the weights."""
    n_out, n_in = high.shape
    arguments = packed, scale, high, low, packed.shape[1], n_out, n_in
    return _exact(kernels.halves, type, _grid(type, n_out, n_in), arguments)


def magnitude(type: GGMLType, packed: Tensor, n_in: int) -> tuple[Launch, Tensor]:
    """The launch that finds the largest magnitude in every tile of the weights, and where it leaves them."""
    grid = _grid(type, packed.shape[0], n_in)
    out = packed.new_empty(grid, dtype=torch.float32)
    return _exact(kernels.largest, type, grid, (packed, out, packed.shape[1], packed.shape[0], n_in)), out


def apply_parts(
    type: GGMLType, packed: Tensor, x: Tensor, card: Card, tile: Tile | None = None
) -> tuple[Launch, Tensor]:
    """The launch that makes the parts [splits, m, n_out] of x W^T for x [m, n_in], and where it leaves them."""
    tile = tile or tile_for(type, x.shape[0], card, adjoint=False)
    shape = packed.shape[0], x.shape[1]
    across, along = triton.cdiv(shape[0], tile.rows), triton.cdiv(shape[1], tile.groups(type) * LAYOUTS[type].group)
    return _product(kernels.apply, type, packed, x, shape, tile, _Cut(shape[0], across, along, card.programs))


def adjoint_parts(
    type: GGMLType, packed: Tensor, n_in: int, g: Tensor, card: Card, tile: Tile | None = None
) -> tuple[Launch, Tensor]:
    """The launch that makes the parts [splits, m, n_in] of g W for g [m, n_out], and where it leaves them."""
    tile = tile or tile_for(type, g.shape[0], card, adjoint=True)
    across, along = triton.cdiv(n_in, tile.groups(type) * LAYOUTS[type].group), triton.cdiv(g.shape[1], tile.rows)
    return _product(
        kernels.adjoint, type, packed, g, (g.shape[1], n_in), tile, _Cut(n_in, across, along, card.programs)
    )


def tile_for(type: GGMLType, m: int, card: Card, *, adjoint: bool) -> Tile:
    """The tile for m rows of x: the one with the fewest instructions for a weight that the registers hold, as seen in
    what the compiler makes of it."""
    if m <= FEW:
        return SLENDER
    large, most = LAYOUTS[type].group > 64, 64 if card.hopper else 32
    if adjoint:
        return Tile(64 if card.hopper and not large and m <= 16 else 32, 128, dot=True, most=most)
    if not large and card.hopper and m > 32:
        return Tile(128, 64, warps=8, dot=True, most=most)
    if not large:
        return Tile(128, 64 if m <= 16 else 32, dot=True, most=32)
    return Tile(64, 128, warps=8 if card.hopper and m > 16 else 4, dot=True, most=most if card.hopper else 16)


@cache
def card_of(device: torch.device) -> Card:
    """The card that a device is."""
    if device.type != "cuda":
        return Card(WAVES)
    about = torch.cuda.get_device_properties(device)
    return Card(WAVES * int(about.multi_processor_count), about.major == 9)


@dataclass(frozen=True)
class _Cut:
    """How a product is dealt out: `across` tiles of its result of `width` columns, each summed along `along` tiles."""

    width: int
    across: int
    along: int
    programs: int

    @property
    def tiles(self) -> int:
        """Tiles that a program sums, so that there are about so many programs."""
        splits = max(1, min(self.along, self.programs // self.across))
        return -(-self.along // splits)


def _product(
    kernel: Any, type: GGMLType, packed: Tensor, x: Tensor, shape: tuple[int, int], tile: Tile, cut: _Cut
) -> tuple[Launch, Tensor]:
    m = x.shape[0]
    out = x.new_empty(triton.cdiv(cut.along, cut.tiles), m, cut.width, dtype=torch.float32)
    constants = {
        **_format(type, tile),
        "M": (rows := max(16 if tile.dot else 1, min(tile.most, triton.next_power_of_2(m)))),
        "TYPE": TYPES[x.dtype],
        "DOT": tile.dot,
    }
    arguments = packed, x, out, packed.shape[1], *shape, m, cut.tiles
    options = {"num_warps": tile.warps, "num_stages": 2, "enable_fp_fusion": True}
    return Launch(kernel, (cut.across, out.shape[0], -(-m // rows)), arguments, constants, options), out


def _exact(kernel: Any, type: GGMLType, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> Launch:
    """A launch over tiles of `EXPANDED`, whose a * b + c rounds twice, as everywhere else."""
    return Launch(kernel, grid, arguments, _format(type, EXPANDED), {"enable_fp_fusion": False})


def _grid(type: GGMLType, n_out: int, n_in: int) -> tuple[int, int]:
    groups = EXPANDED.groups(type) * LAYOUTS[type].group
    return triton.cdiv(n_out, EXPANDED.rows), triton.cdiv(n_in, groups)


def _format(type: GGMLType, tile: Tile) -> dict[str, Any]:
    layout = LAYOUTS[type]
    return {
        "DECODE": layout.decode,
        "PLANES": layout.planes,
        "WIDE": layout.wide,
        "R": tile.rows,
        "G": tile.groups(type),
    }


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Triton launches on the current device."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            yield
    else:
        yield
