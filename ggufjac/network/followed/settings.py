"""How llama.cpp is run where its run is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LlamaSettings:
    """threads: None for all of this process. cache: the type of keys and values in its cache. repack: whether it lays
    out weights anew for faster kernels, as it does unless it is told not to. Flash attention is always off.
    """

    threads: int | None = None
    cache: Literal["f16", "f32"] = "f16"
    repack: bool = False
