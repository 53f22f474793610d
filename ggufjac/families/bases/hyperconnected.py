"""Families with hyper-connections: several planes of the stream (`parts.hyper`)."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import RMSNorm


class HyperConnected(Family):
    """How many planes the file gives, and what their weights are computed from."""

    @property
    def planes(self) -> int:
        return self.source.count("hyper_connection.count")

    @property
    def leaving(self) -> int:
        return self.planes * self.d

    def plain_norm(self) -> RMSNorm:
        """The norm of a whole state, without weights."""
        return RMSNorm(None, self.source.number("attention.layer_norm_rms_epsilon"))
