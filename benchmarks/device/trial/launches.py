"""The launches of a candidate, and where they leave the parts of the product."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from benchmarks.device.trial import blockwise, scalar, subnormal
from benchmarks.device.trial.candidates import TYPE, Candidate
from ggufjac.quants.triton_kernels import launch
from ggufjac.quants.triton_kernels.launch import Card, Launch

MODULES: dict[str, ModuleType] = {"subnormal": subnormal, "blockwise": blockwise, "scalar": scalar}
#: Weights of a superblock and of a quarter.
SUPERBLOCK, QUARTER = 256, 64
#: Numbers of x that a program splits at a time, and programs for each row of x.
SPLIT, SPLITTING = 2048, 4


def launches(candidate: Candidate, packed: Tensor, n_in: int, x: Tensor, card: Card) -> tuple[list[Launch], Tensor]:
    """For packed, uint8 [n_out, row_bytes]: the launches, and the parts float32 [splits, m, n_out or n_in]."""
    if candidate.tile is not None:
        if candidate.adjoint:
            made, out = launch.adjoint_parts(TYPE, packed, n_in, x, card, candidate.tile)
        else:
            made, out = launch.apply_parts(TYPE, packed, x, card, candidate.tile)
        return [made], out
    words, module, sizes = packed.view(torch.int32), MODULES[candidate.kernel], candidate.sizes
    n_out, m = packed.shape[0], x.shape[0]
    blocks = -(-m // sizes["M"])
    across, along = _tiles(candidate, n_out, n_in)
    splits = max(1, min(along, card.programs // (across * blocks)))
    tiles = -(-along // splits)
    out = x.new_empty(-(-along // tiles), m, n_in if candidate.adjoint else n_out, dtype=torch.float32)
    kernel = module.adjoint if candidate.adjoint else module.apply
    options = {"num_warps": candidate.warps, "num_stages": 2}
    first, factors = _prepared(candidate, x, n_in, blocks * sizes["M"])
    padded = () if candidate.adjoint or not first else (blocks * sizes["M"],)
    arguments = words, *factors, out, words.shape[1], n_out, n_in, m, *padded, tiles
    return [*first, Launch(kernel, (across, out.shape[0], blocks), arguments, dict(sizes), options)], out


def product(candidate: Candidate, packed: Tensor, n_in: int, x: Tensor, card: Card) -> Tensor:
    """x W^T or x W."""
    made, parts = launches(candidate, packed, n_in, x, card)
    for one in made:
        one.run(x.device)
    return parts[0] if parts.shape[0] == 1 else parts.sum(0)


def _tiles(candidate: Candidate, n_out: int, n_in: int) -> tuple[int, int]:
    """Tiles of the result, and those that each of them is summed along."""
    sizes = candidate.sizes
    rows, quarters = sizes["R"], sizes.get("G", SUPERBLOCK // QUARTER)
    steps = sizes.get("U", 1)
    if candidate.adjoint:
        return -(-(n_in // QUARTER) // quarters), -(-n_out // (rows * steps))
    return -(-n_out // rows), -(-(n_in // QUARTER) // (quarters * steps))


def _prepared(candidate: Candidate, x: Tensor, n_in: int, rows: int) -> tuple[list[Launch], tuple[Tensor, ...]]:
    """What splits x into float16 parts, where a kernel wants that, and what it then reads in the place of x."""
    if candidate.adjoint or candidate.kernel == "scalar":
        return [], (x,)
    m, options = x.shape[0], {"num_warps": 8}
    parts = x.new_empty(2, rows, n_in, dtype=torch.float16)
    scale = x.new_empty(rows, dtype=torch.float32)
    constants = {"BLOCK": SPLIT}
    if candidate.kernel == "subnormal":
        kernel, sums = subnormal.prepare, x.new_empty(rows, n_in // 16, dtype=torch.float16)
    else:
        kernel, sums = blockwise.prepare, x.new_empty(rows, n_in // 32, dtype=torch.float32)
        constants["PARTS"] = candidate.sizes["PARTS"]
    arguments = x, parts, sums, scale, n_in, m, rows
    return [Launch(kernel, (rows, SPLITTING), arguments, constants, options)], (parts, sums, scale)
