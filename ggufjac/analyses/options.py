"""How the map behind an analysis is made: what all analyses let one choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """path: the live factor of gated MLPs; seed: of whatever is drawn at random; memory: bytes that everything but the
    mapped file may take (None: a quarter of the machine's); device: torch's name for where to compute.
    """

    dtype: torch.dtype = torch.float32
    path: Literal["up", "gate"] = "up"
    seed: int = 0
    memory: int | None = None
    device: str = "cpu"

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def linearize(self, model: Model, ids: Sequence[int]) -> DetachedMap:
        return model.linearize(ids, self.dtype, path=self.path, memory=self.memory, device=self.device)
