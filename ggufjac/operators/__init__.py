"""The linear operators of which every network is built, each with its transpose."""

from ggufjac.operators.attend import Attend, Shares
from ggufjac.operators.base import Deferred, Identity, One, Operator, Parallel, Residual, Sequential, Tally, built
from ggufjac.operators.behind import Behind
from ggufjac.operators.blocksum import BlockSum
from ggufjac.operators.convolve import Convolve
from ggufjac.operators.dense import Dot, Outer, Transposed
from ggufjac.operators.derivative import Derivative
from ggufjac.operators.elementwise import Bias, Center, Scale, Select
from ggufjac.operators.heads import Heads
from ggufjac.operators.lanes import Blend, Inside, Pad, Slice, Stack
from ggufjac.operators.matmul import MatMul
from ggufjac.operators.mix import Mix
from ggufjac.operators.pick import Pick
from ggufjac.operators.pool import Pool
from ggufjac.operators.preceded import Preceded
from ggufjac.operators.recurrence import Scan
from ggufjac.operators.reject import Reject
from ggufjac.operators.rotate import Rotate
from ggufjac.operators.routed import Routed, Weigh
from ggufjac.operators.shift import Shift
from ggufjac.operators.whole import Whole

__all__ = [
    "Attend",
    "Behind",
    "Bias",
    "Blend",
    "BlockSum",
    "Center",
    "Convolve",
    "Deferred",
    "Derivative",
    "Dot",
    "Heads",
    "Identity",
    "Inside",
    "MatMul",
    "Mix",
    "One",
    "Operator",
    "Outer",
    "Pad",
    "Parallel",
    "Pick",
    "Pool",
    "Preceded",
    "Reject",
    "Residual",
    "Rotate",
    "Routed",
    "Scale",
    "Scan",
    "Select",
    "Sequential",
    "Shares",
    "Shift",
    "Slice",
    "Stack",
    "Tally",
    "Transposed",
    "Weigh",
    "Whole",
    "built",
]
