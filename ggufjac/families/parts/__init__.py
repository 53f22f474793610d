"""The building blocks that families share. A family's own file holds only what is the family's."""

from ggufjac.families.parts.attention import Attention, Temperature
from ggufjac.families.parts.continued import Continued, Past
from ggufjac.families.parts.delta import GatedDeltaNet
from ggufjac.families.parts.elementary import Elementwise, Gated, LayerNorm, Linear, Plus, RMSNorm, Times
from ggufjac.families.parts.interleave import interleaved
from ggufjac.families.parts.joins import Add, Beside, Named, Then
from ggufjac.families.parts.lanes import Append, Copies, Lane, NamedLane, Within, Write
from ggufjac.families.parts.mlp import GatedMLP, PlainMLP
from ggufjac.families.parts.moe import Experts, Routing
from ggufjac.families.parts.parallel import Parallel
from ggufjac.families.parts.positions import LearnedPositions
from ggufjac.families.parts.rope import Factors, Rope, Yarn
from ggufjac.families.parts.run import Part, Run, Watch
from ggufjac.families.parts.shortconv import ShortConv
from ggufjac.families.parts.statespace import Mamba1, Mamba2, Plamo2Mamba, ShortMemory

__all__ = [
    "Add",
    "Append",
    "Attention",
    "Beside",
    "Continued",
    "Copies",
    "Elementwise",
    "Experts",
    "Factors",
    "Gated",
    "GatedDeltaNet",
    "GatedMLP",
    "Lane",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Mamba1",
    "Mamba2",
    "Named",
    "NamedLane",
    "Parallel",
    "Part",
    "Past",
    "PlainMLP",
    "Plamo2Mamba",
    "Plus",
    "RMSNorm",
    "Rope",
    "Routing",
    "Run",
    "ShortConv",
    "ShortMemory",
    "Temperature",
    "Then",
    "Times",
    "Watch",
    "Within",
    "Write",
    "Yarn",
    "interleaved",
]
