"""The linear operators of which every network is built, each with its transpose."""

from ggufjac.operators.base import Chain, Deferred, Identity, One, Operator, Residual, Sum, Tally, built
from ggufjac.operators.blocksum import BlockSum
from ggufjac.operators.convolve import Convolve
from ggufjac.operators.elementwise import Bias, Center, Scale, Select
from ggufjac.operators.lanes import Blend, Inside, Place, Slice, Stack
from ggufjac.operators.matmul import MatMul
from ggufjac.operators.mix import Mix
from ggufjac.operators.pick import Pick
from ggufjac.operators.preceded import Preceded
from ggufjac.operators.recurrence import Scan
from ggufjac.operators.routed import Routed
from ggufjac.operators.shift import Shift

__all__ = [
    "Bias",
    "Blend",
    "BlockSum",
    "Center",
    "Chain",
    "Convolve",
    "Deferred",
    "Identity",
    "Inside",
    "MatMul",
    "Mix",
    "One",
    "Operator",
    "Pick",
    "Place",
    "Preceded",
    "Residual",
    "Routed",
    "Scale",
    "Scan",
    "Select",
    "Shift",
    "Slice",
    "Stack",
    "Sum",
    "Tally",
    "built",
]
