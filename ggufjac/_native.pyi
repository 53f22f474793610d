"""Expanding GGUF blocks, and products with packed weights (the C++ extension; `ggufjac.quants.native` is its face)."""

from typing import Any, TypedDict

from numpy.typing import NDArray

class Info(TypedDict):
    isa: str
    threads: int
    compiled: list[str]
    runnable: list[str]

def dequantize(
    type: int,
    data: NDArray[Any],
    out: NDArray[Any],
    grid: NDArray[Any] | None = None,
    threads: int = 0,
    isa: str | None = None,
) -> None:
    """out = W as float32 [rows, cols], bit for bit what `gguf.quants.dequantize` gives.

    `data` is a C-contiguous uint8 array [rows, row_bytes] of whole blocks of ggml type `type`; `grid` is the codebook
    of the IQ1, IQ2 and IQ3 types, as int8. threads=0 means one per available processor; `isa` names one of
    `info()["runnable"]`. Raises ValueError when anything does not fit.
    """

def matmul(
    type: int,
    data: NDArray[Any],
    x: NDArray[Any],
    out: NDArray[Any],
    grid: NDArray[Any] | None = None,
    threads: int = 0,
    isa: str | None = None,
) -> None:
    """out[m, rows] = x[m, cols] @ W.T, with `x` and `out` both float32 or both float64.

    The rows of `x` may be further apart than `cols`; `out` is C-contiguous. The bits of the result do not depend on
    `threads`. Raises ValueError when anything does not fit.
    """

def matmul_adjoint(
    type: int,
    data: NDArray[Any],
    g: NDArray[Any],
    out: NDArray[Any],
    grid: NDArray[Any] | None = None,
    threads: int = 0,
    isa: str | None = None,
) -> None:
    """out[m, cols] = g[m, rows] @ W, with `g` and `out` as `x` and `out` of `matmul`."""

def fma_peak(wide: bool = False, threads: int = 0, seconds: float = 0.1, isa: str | None = None) -> float:
    """Operations per second of independent fused multiply-adds in registers (float64 if `wide`)."""

def info() -> Info:
    """isa: the one chosen; threads: what threads=0 means; compiled: the isas of this build; runnable: those of them
    that this processor can run, best first."""
