"""The linear operators of which every network is built, each with its transpose."""

from ggufjac.operators.base import Chain, Identity, One, Operator, Residual, Sum, Tally
from ggufjac.operators.convolve import Convolve
from ggufjac.operators.elementwise import Bias, Center, Scale, Select
from ggufjac.operators.matmul import MatMul
from ggufjac.operators.mix import Mix
from ggufjac.operators.pick import Pick
from ggufjac.operators.recurrence import Scan
from ggufjac.operators.routed import Routed

__all__ = [
    "Bias",
    "Center",
    "Chain",
    "Convolve",
    "Identity",
    "MatMul",
    "Mix",
    "One",
    "Operator",
    "Pick",
    "Residual",
    "Routed",
    "Scale",
    "Scan",
    "Select",
    "Sum",
    "Tally",
]
