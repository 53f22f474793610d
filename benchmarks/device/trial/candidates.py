"""Which kernels are tried for narrow products with Q4_K, with which sizes of tiles and splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import torch

from ggufjac.quants.triton_kernels.launch import WAVES, Card, Tile, tile_for
from ggufjac.reader.types import GGMLType

TYPE = GGMLType.Q4_K
ROWS = (1, 4, 16, 32, 64)
DTYPES = (torch.float32, torch.bfloat16)
#: The matrix units' smallest block of x.
BLOCK = 16


@dataclass(frozen=True)
class Candidate:
    """A kernel for m rows of x. kernel: "engine", or the module whose `apply` or `adjoint` it is; waves: programs for
    each multiprocessor, tried in turn; tile: of the engine's kernel; sizes: what another one is compiled for.
    """

    kernel: str
    adjoint: bool
    dtype: torch.dtype
    m: int
    waves: tuple[int, ...]
    warps: int
    tile: Tile | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    used: bool = False

    @property
    def name(self) -> str:
        if self.tile is not None:
            units = "matrix units " if self.tile.dot else ""
            return f"{self.kernel} {units}{self.tile.rows}x{self.tile.weights}, {self.warps} warps"
        sizes = " ".join(f"{key}={value}" for key, value in self.sizes.items())
        return f"{self.kernel} {sizes}, {self.warps} warps"

    def current(self, waves: int) -> bool:
        """Whether the engine does it this way."""
        return self.used and waves == WAVES


def candidates(*, hopper: bool) -> list[Candidate]:
    """All of them: what is most likely to be used first."""
    found = [c for dtype in DTYPES for c in (*_engine(dtype, hopper=hopper), *_subnormal(dtype))]
    return [*found, *_other_tiles(), *_scalar(), *(c for dtype in DTYPES for c in _blockwise(dtype))]


def _engine(dtype: torch.dtype, *, hopper: bool) -> Iterator[Candidate]:
    """What the engine does, in more and in fewer parts."""
    for m, adjoint in product(ROWS, (False, True)):
        tile = tile_for(TYPE, m, Card(WAVES, hopper), adjoint=adjoint)
        waves = (4, 8, 16, 32) if m <= 4 else (4, 8)
        yield Candidate("engine", adjoint, dtype, m, waves, tile.warps, tile, used=True)


def _subnormal(dtype: torch.dtype) -> Iterator[Candidate]:
    """R rows of W, M and PARTS of x; PRE: the loop loads the next superblock itself; NS: stages of the compiler's."""
    parts = {"PARTS": _parts(dtype)}
    for m in ROWS:
        block = max(BLOCK, m)
        tiles = ((64, 4), (128, 8)) if m < BLOCK or m == 64 else ((64, 4), (128, 4), (128, 8))
        loads = ((1, 1), (0, 2)) if m == 4 else ((1, 1), (0, 2), (0, 1))
        for (r, warps), (pre, ns) in product(tiles, loads):
            sizes = {"R": r, "M": block, **parts, "PRE": pre, "NS": ns}
            yield Candidate("subnormal", False, dtype, m, (2, 4, 8), warps, sizes=sizes)
        turned = ((64, 4), (64, 8)) if m == 4 else ((32, 4), (64, 4), (64, 8), (128, 8))
        for (r, warps), (pre, ns) in product(turned, loads[:1] if m == 4 else loads[:2]):
            sizes = {"R": r, "M": block, **parts, "PRE": pre, "NS": ns}
            yield Candidate("subnormal", True, dtype, m, (2, 4, 8), warps, sizes=sizes)
    for m, pre, ns in ((1, 1, 1), (1, 0, 2), (4, 1, 1), (4, 0, 2)):
        sizes = {"R": 64, "M": 8, **parts, "PRE": pre, "NS": ns}
        yield Candidate("subnormal", False, dtype, m, (2, 4, 8), 4, sizes=sizes)
    for adjoint, warps in ((False, 4), (True, 4), (True, 8)):
        sizes = {"R": 64, "M": 32, **parts, "PRE": 1, "NS": 1}
        yield Candidate("subnormal", adjoint, dtype, 64, (2, 4), warps, sizes=sizes)


def _blockwise(dtype: torch.dtype) -> Iterator[Candidate]:
    for m, (r, warps) in product((16, 32), ((64, 4), (128, 8))):
        sizes = {"R": r, "M": m, "PARTS": _parts(dtype), "NS": 2}
        yield Candidate("blockwise", False, dtype, m, (4, 8), warps, sizes=sizes)


def _other_tiles() -> Iterator[Candidate]:
    """The engine's kernel with more bytes on their way in each program."""
    for rows, weights, warps in ((8, 512, 4), (4, 1024, 4), (8, 256, 2), (16, 512, 8), (4, 512, 2)):
        yield from _both(1, (8, 16, 32), Tile(rows, weights, warps))
    for rows, weights, warps in ((16, 256, 8), (8, 256, 4), (32, 64, 4)):
        yield from _both(4, (4, 8, 16), Tile(rows, weights, warps))


def _both(m: int, waves: tuple[int, ...], tile: Tile) -> Iterator[Candidate]:
    for adjoint in (False, True):
        yield Candidate("engine", adjoint, torch.float32, m, waves, tile.warps, tile)


def _scalar() -> Iterator[Candidate]:
    """R rows of W, G quarters of each, U of both one after the other in one step of the loop."""
    for m in (1, 4):
        for r, g, u in ((16, 16, 1), (8, 16, 1), (16, 4, 2)):
            if m * r * g <= 512:  # a float32 for each word: more than that leaves the registers
                yield _scalars(False, m, 4, r, g, u)
        for r, g, u in ((16, 4, 2), (16, 4, 1), (8, 4, 4)):
            yield _scalars(True, m, 4 if r == 16 else 2, r, g, u)


def _scalars(adjoint: bool, m: int, warps: int, r: int, g: int, u: int) -> Candidate:
    return Candidate("scalar", adjoint, torch.float32, m, (8, 16), warps, sizes={"R": r, "G": g, "M": m, "U": u})


def _parts(dtype: torch.dtype) -> int:
    """float16 parts of a number of x: bfloat16's eight bits fit in one."""
    return 2 if dtype == torch.float32 else 1
