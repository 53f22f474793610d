"""The building blocks that families share. A family's own file holds only what is the family's."""

from ggufjac.families.parts.attention import Attention, Temperature
from ggufjac.families.parts.elementary import Elementwise, Gated, LayerNorm, Linear, Plus, RMSNorm, Times
from ggufjac.families.parts.joins import Add, Beside, Named, Then
from ggufjac.families.parts.mlp import GatedMLP, PlainMLP
from ggufjac.families.parts.moe import Experts, Routing
from ggufjac.families.parts.rope import Factors, Rope, Yarn
from ggufjac.families.parts.run import Part, Run, Watch

__all__ = [
    "Add",
    "Attention",
    "Beside",
    "Elementwise",
    "Experts",
    "Factors",
    "Gated",
    "GatedMLP",
    "LayerNorm",
    "Linear",
    "Named",
    "Part",
    "PlainMLP",
    "Plus",
    "RMSNorm",
    "Rope",
    "Routing",
    "Run",
    "Temperature",
    "Then",
    "Times",
    "Watch",
    "Yarn",
]
