"""How much a linear map may miss of the output that it was made from."""

from __future__ import annotations

#: Relative error up to which a reconstruction counts as exact, by dtype; it is checked in every run.
EXACT = {"float32": 1e-5, "float64": 1e-13, "bfloat16": 5e-2}
#: How many times more than that is no rounding any more, however deep the model: something is wrong.
FAR = 100


def wrong(reconstruction: float, dtype: str) -> bool:
    """Whether a map cannot be one of its output: it misses far more than rounding does, or what is no number."""
    return not reconstruction < min(1.0, FAR * EXACT[dtype])
