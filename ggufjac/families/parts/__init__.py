"""The building blocks that families share. A family's own file holds only what is the family's."""

from ggufjac.families.parts.attention import Attention, Temperature
from ggufjac.families.parts.continued import Continued, Past
from ggufjac.families.parts.delta import GatedDeltaNet
from ggufjac.families.parts.elementary import Bias, Elementwise, Gated, LayerNorm, Linear, RMSNorm, Scale
from ggufjac.families.parts.interleave import interleaved, per_head
from ggufjac.families.parts.joins import Named, Parallel, Residual, Sequential
from ggufjac.families.parts.lanes import Append, Copies, Inside, NamedSlice, ResidualAt, Slice
from ggufjac.families.parts.mlp import GatedMLP, PlainMLP
from ggufjac.families.parts.moe import Experts, Routing
from ggufjac.families.parts.parallel import ParallelBlock
from ggufjac.families.parts.positions import LearnedPositions
from ggufjac.families.parts.rope import Factors, Rope, Yarn
from ggufjac.families.parts.run import Part, Run, Watch
from ggufjac.families.parts.shortconv import ShortConv
from ggufjac.families.parts.statespace import Mamba1Mixer, Mamba2Mixer, Plamo2Mixer, ShortMemory

__all__ = [
    "Append",
    "Attention",
    "Bias",
    "Continued",
    "Copies",
    "Elementwise",
    "Experts",
    "Factors",
    "Gated",
    "GatedDeltaNet",
    "GatedMLP",
    "Inside",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Mamba1Mixer",
    "Mamba2Mixer",
    "Named",
    "NamedSlice",
    "Parallel",
    "ParallelBlock",
    "Part",
    "Past",
    "PlainMLP",
    "Plamo2Mixer",
    "RMSNorm",
    "Residual",
    "ResidualAt",
    "Rope",
    "Routing",
    "Run",
    "Scale",
    "Sequential",
    "ShortConv",
    "ShortMemory",
    "Slice",
    "Temperature",
    "Watch",
    "Yarn",
    "interleaved",
    "per_head",
]
