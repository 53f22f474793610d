"""What is aimed at on an H100, and what the same takes elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
#: The part of the card that the aims give to a model.
CAP = 24 * GIB
#: Products of up to so many rows with Q4_K weights move this share of what copies do, in packed bytes.
NARROW_ROWS, NARROW_SHARE = 32, 0.6
#: The share of the library's product on expanded weights, in float32.
WIDE_SHARE = 0.8


@dataclass(frozen=True)
class Aim:
    """seconds: for the coefficients and the step together; beside: what was measured or published elsewhere."""

    phase: str
    step: str
    dtype: str
    capped: bool
    seconds: float
    beside: str = ""


AIMS = (
    Aim("smollm", "full map", "float32", True, 0.1, "3.1 s on 2 CPU cores"),
    Aim("8b", "full map", "float32", True, 15, "eight triplets take 91 s on 2 CPU cores"),
    Aim("8b", "full map", "bfloat16", True, 3),
    Aim("70b", "top 8 triplets", "float32", True, 60, "published: full map of 3 tokens, 10 min on an A100-40GB"),
    Aim("70b", "top 8 triplets", "float32", False, 15),
    Aim("70b", "full map", "bfloat16", True, 60),
    Aim("70b", "full map", "float32", True, 240),
)


def aim_for(phase: str, step: str, dtype: str, *, capped: bool) -> Aim | None:
    for aim in AIMS:
        if (aim.phase, aim.step, aim.dtype, aim.capped) == (phase, step, dtype, capped):
            return aim
    return None
