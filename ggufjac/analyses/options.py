"""How the map behind an analysis is made: what all analyses let one choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.followed import Settings
from ggufjac.maps.model import Model


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """path: the live factor of gated MLPs; seed: of whatever is drawn at random; memory: bytes that everything but the
    mapped file may take (None: a quarter of the machine's); device: torch's name for where to compute; run: whose
    computation is explained, that of exact arithmetic or llama.cpp's own, which is run as `llama` says.
    """

    dtype: torch.dtype = torch.float32
    path: Literal["up", "gate"] = "up"
    seed: int = 0
    memory: int | None = None
    device: str = "cpu"
    run: Literal["exact", "llama.cpp"] = "exact"
    llama: Settings = field(default_factory=Settings)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def linearize(self, model: Model, ids: Sequence[int]) -> DetachedMap:
        return model.linearize(
            ids, self.dtype, path=self.path, memory=self.memory, device=self.device, run=self.run, llama=self.llama
        )

    def require_derivatives(self) -> None:
        """Raise UserError where the computation that is explained has no derivatives: one that rounds is a staircase,
        flat wherever it is not broken."""
        if self.run != "exact":
            raise UserError(
                "the ordinary Jacobian of a computation that rounds is 0 almost everywhere; it goes with exact "
                "arithmetic alone (--run exact)"
            )
