"""Which formats have kernels, and how their weights lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ggufjac.quants.triton_kernels import decode
from ggufjac.reader.types import GGMLType


@dataclass(frozen=True)
class Layout:
    """decode: the format's function; a group of weights has so many planes, each `wide` weights."""

    decode: Any
    planes: int
    wide: int

    @property
    def group(self) -> int:
        """Weights of a group."""
        return self.planes * self.wide


LAYOUTS: dict[GGMLType, Layout] = {
    GGMLType.F32: Layout(decode.f32, 1, 32),
    GGMLType.F16: Layout(decode.f16, 1, 32),
    GGMLType.BF16: Layout(decode.bf16, 1, 32),
    GGMLType.Q4_0: Layout(decode.q4_0, 2, 16),
    GGMLType.Q4_1: Layout(decode.q4_1, 2, 16),
    GGMLType.Q5_0: Layout(decode.q5_0, 2, 16),
    GGMLType.Q5_1: Layout(decode.q5_1, 2, 16),
    GGMLType.Q8_0: Layout(decode.q8_0, 1, 32),
    GGMLType.Q2_K: Layout(decode.q2_k, 8, 16),
    GGMLType.Q3_K: Layout(decode.q3_k, 8, 16),
    GGMLType.Q4_K: Layout(decode.q4_k, 2, 32),
    GGMLType.Q5_K: Layout(decode.q5_k, 2, 32),
    GGMLType.Q6_K: Layout(decode.q6_k, 8, 16),
    GGMLType.IQ4_NL: Layout(decode.iq4_nl, 2, 16),
    GGMLType.IQ4_XS: Layout(decode.iq4_xs, 2, 16),
    GGMLType.MXFP4: Layout(decode.mxfp4, 2, 16),
    GGMLType.NVFP4: Layout(decode.nvfp4, 2, 8),
}
