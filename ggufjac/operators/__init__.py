"""The linear operators of which every network is built, each with its transpose."""

from ggufjac.operators.base import Deferred, Identity, One, Operator, Parallel, Residual, Sequential, Tally, built
from ggufjac.operators.blocksum import BlockSum
from ggufjac.operators.convolve import Convolve
from ggufjac.operators.elementwise import Bias, Center, Scale, Select
from ggufjac.operators.lanes import Blend, Inside, Pad, Slice, Stack
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
    "Convolve",
    "Deferred",
    "Identity",
    "Inside",
    "MatMul",
    "Mix",
    "One",
    "Operator",
    "Pad",
    "Parallel",
    "Pick",
    "Preceded",
    "Residual",
    "Routed",
    "Scale",
    "Scan",
    "Select",
    "Sequential",
    "Shift",
    "Slice",
    "Stack",
    "Tally",
    "built",
]
