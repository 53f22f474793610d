"""Families with hyper-connections: several planes of the stream (`parts.hyper`)."""

from __future__ import annotations

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import RMSNorm

#: Of Sinkhorn's algorithm; published models have 20.
MOST_ROUNDS = 1000


class HyperConnected(Family):
    """How many planes the file gives, and what their weights are computed from."""

    @property
    def planes(self) -> int:
        return self.source.count("hyper_connection.count")

    @property
    def leaving(self) -> int:
        return self.planes * self.d

    @property
    def sinkhorn_rounds(self) -> int:
        """How often the weights of a mixture are divided by their sums. Raises UserError for more than would end."""
        key = "hyper_connection.sinkhorn_iterations"
        rounds = self.source.count(key)
        if rounds > MOST_ROUNDS:
            raise UserError(f"{self.source.file.path}: {key} is {rounds}; at most {MOST_ROUNDS} are computed here")
        return rounds

    def plain_norm(self) -> RMSNorm:
        """The norm of a whole state, without weights."""
        return RMSNorm(None, self.source.number("attention.layer_norm_rms_epsilon"))
