"""Projections whose outputs take turns, as where every head's queries are followed by its gates."""

from __future__ import annotations

import torch

from ggufjac.families.parts.elementary import Linear, Some
from ggufjac.families.parts.joins import Then
from ggufjac.families.parts.run import Part


def interleaved(projection: Linear, start: int, stop: int, period: int) -> Part:
    """Of the outputs of `projection` the entries [start, stop) of every group of `period`, one after the other."""
    n = projection.weight.n_out
    return Then(projection, Some(torch.arange(n).unflatten(0, (-1, period))[:, start:stop].flatten(), n))
