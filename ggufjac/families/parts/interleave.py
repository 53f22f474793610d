"""Projections whose outputs take turns, as where every head's queries are followed by its gates."""

from __future__ import annotations

import torch

from ggufjac.families.parts.elementary import Linear, Pick
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.run import Part


def interleaved(projection: Linear, start: int, stop: int, period: int, pieces: int = 1) -> Part:
    """Of the outputs of `projection` the entries [start, stop) of every group of `period`, one after the other.

    pieces: [start, stop) is cut into so many equal pieces, and all of the first come before all of the second.
    """
    n = projection.weight.n_out
    chosen = torch.arange(n).unflatten(0, (-1, period))[:, start:stop].unflatten(1, (pieces, -1))
    return Sequential(projection, Pick(chosen.transpose(0, 1).flatten(), n))


def per_head(gate: Part, n_head: int, d_head: int) -> Part:
    """A gate of one entry per head, [n_head], spread over all d_head entries of each."""
    return Sequential(gate, Pick(torch.arange(n_head).repeat_interleave(d_head), n_head))
