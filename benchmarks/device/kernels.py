"""The device's own kernels, where it has them, in the variants that are timed beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ggufjac.quants.device.choice import kernels_of
from ggufjac.quants.device.kernels import Kernels
from ggufjac.reader.types import GGMLType

if TYPE_CHECKING:
    from ggufjac.quants.triton_kernels.launch import Tile


def kernels_for(device: torch.device, kind: GGMLType, n_in: int) -> Kernels | None:
    """The device's kernels, where they multiply with this type while they expand it; None elsewhere."""
    found = kernels_of(device)
    if type(found) is Kernels:
        return None
    from ggufjac.quants.triton_kernels.formats import LAYOUTS

    return found if kind in LAYOUTS and n_in % LAYOUTS[kind].group == 0 else None


def narrow() -> int:
    """The most rows that they multiply so."""
    from ggufjac.quants.triton_kernels.launch import NARROW

    return NARROW


def fused(
    kernels: Kernels,
    kind: GGMLType,
    packed: Tensor,
    n_in: int,
    x: Tensor,
    *,
    transposed: bool,
    tile: Tile | None = None,
) -> Tensor:
    """The product, by the usual tile or by another one."""
    if tile is None:
        made = kernels.adjoint(kind, packed, n_in, x) if transposed else kernels.apply(kind, packed, n_in, x)
        assert made is not None
        return made
    from ggufjac.quants.triton_kernels import launch

    card = launch.card_of(x.device)
    if transposed:
        work, parts = launch.adjoint_parts(kind, packed, n_in, x.contiguous(), card, tile)
    else:
        work, parts = launch.apply_parts(kind, packed, x.contiguous(), card, tile)
    work.run(x.device)
    return parts.sum(0)


def tiles(kind: GGMLType, m: int, device: torch.device, *, transposed: bool) -> Mapping[str, Tile]:
    """Tiles to try beside the usual one, by name."""
    from ggufjac.quants.triton_kernels import launch

    usual = launch.tile_for(kind, m, launch.card_of(device), adjoint=transposed)
    others = {
        "rows x2": replace(usual, rows=2 * usual.rows),
        "rows /2": replace(usual, rows=usual.rows // 2),
        "weights x2": replace(usual, weights=2 * usual.weights),
        "weights /2": replace(usual, weights=usual.weights // 2),
        "warps x2": replace(usual, warps=2 * usual.warps),
        "other units": replace(usual, dot=not usual.dot, rows=32 if not usual.dot else 8, most=16),
    }
    return {name: tile for name, tile in others.items() if _makes_sense(tile, m)}


def _makes_sense(tile: Tile, m: int) -> bool:
    """Matrix units want sixteen rows of x and of W; what is done without them takes registers for every row of x."""
    return m > 2 and tile.rows >= 16 if tile.dot else m <= 16
