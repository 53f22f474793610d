"""How time grows: with columns, with tokens, with layers and with bytes, on small synthetic models.

Everything lies in memory here. The baseline is the time that the operations take at the measured peak of multiply-adds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.synth import synthesize
from benchmarks.synthetic.shapes import named
from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac import _native
from ggufjac.maps.costs.planner import Planner
from ggufjac.maps.model import Model
from ggufjac.quants.native import isa

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The model that everything varies: Llama 3.2 1B with two of its layers and few tokens.
SHAPE, CHANGES, TYPE = "llama3.2-1b", ("n_layer=2", "n_vocab=1024"), "Q4_K_M"
TOKENS, COLUMNS = 8, 16
#: Work that takes longer than this, in seconds, is timed once.
LONG = 1.0
HEADINGS = (
    "varied", "value", "weights MB", "coefficients s", "of peak", "forward s", "of peak", "backward s", "of peak",
)  # fmt: skip
STEPS = ("coefficients", "forward", "backward")


@dataclass(frozen=True)
class Point:
    """One model at one setting; seconds and limits (operations at the peak) of the three steps."""

    series: str
    value: float
    weights: int
    seconds: tuple[float, float, float]
    limits: tuple[float, float, float]

    def cells(self) -> list[str]:
        pairs = zip(self.seconds, self.limits, strict=True)
        both = [cell for s, limit in pairs for cell in (f"{s:.3f}", f"{limit / s:.0%}")]
        return [self.series, f"{self.value:g}", f"{self.weights / 1e6:.0f}", *both]


def points() -> Iterator[Point]:
    """All settings, measured as they are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"

        def model(*changes: str, file_type: str = TYPE) -> Path:
            synthesize(path, named(SHAPE, (*CHANGES, *changes)), file_type)
            return path

        model()
        for columns in (1, 4, 16, 64, 256):
            yield _point("columns", columns, path, TOKENS, columns)
        for n_tokens in (1, 4, 16, 64, 256):
            yield _point("tokens", n_tokens, path, n_tokens, COLUMNS)
        for n_layer in (1, 2, 4, 8, 16):
            yield _point("layers", n_layer, model(f"n_layer={n_layer}"), TOKENS, COLUMNS)
        for n_embd in (512, 1024, 2048, 4096):
            sizes = (f"n_embd={n_embd}", f"n_ff={4 * n_embd}", f"n_head={n_embd // 64}")
            yield _point("width", n_embd, model(*sizes), TOKENS, COLUMNS)
        for bits, file_type in ((2.6, "Q2_K"), (4.5, "Q4_0"), (6.6, "Q6_K"), (8.5, "Q8_0"), (16, "F16"), (32, "F32")):
            yield _point("bits a weight", bits, model(file_type=file_type), TOKENS, COLUMNS)


def _point(series: str, value: float, path: Path, n_tokens: int, columns: int) -> Point:
    ids = torch.randint(1024, (n_tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    with Model.open(path) as model, torch.no_grad():
        linear = model.linearize(ids)
        plan = Planner(model.family, n_tokens, linear.budget.map)
        d, _, d_in = linear.shape
        x, y = torch.randn(columns, n_tokens, d_in), torch.randn(columns, d)
        works = (lambda: model.linearize(ids), lambda: linear.matmat(x), lambda: linear.rmatmat(y))
        coefficients, forward, backward = map(_seconds, works)
        flops = (
            plan.prefill.flops + 2 * model.family.n_vocab * d,
            *(plan.sweep(columns, transposed=way).flops for way in (False, True)),
        )
        weights = sum(info.nbytes for name, info in model.file.tensors.items() if name.startswith("blk."))
    peak = _native.fma_peak(threads=torch.get_num_threads(), isa=isa())
    of_peak = (flops[0] / peak, flops[1] / peak, flops[2] / peak)
    return Point(series, value, weights, (coefficients, forward, backward), of_peak)


def _seconds(work: Callable[[], object]) -> float:
    """The fastest of three runs."""
    since = time.perf_counter()
    work()
    first = time.perf_counter() - since
    return first if first > LONG else timed(work, 3)[0]


def table(seen: list[Point] | None = None) -> Table:
    """Every point as a row; `seen` collects them for a plot."""

    def rows() -> Iterator[list[str]]:
        for point in points():
            if seen is not None:
                seen.append(point)
            yield point.cells()

    note = (
        f"A synthetic {SHAPE} with {', '.join(CHANGES)} in {TYPE}, {TOKENS} tokens, {COLUMNS} columns, unless varied; "
        f"{torch.get_num_threads()} threads; the file lies in the page cache. The fastest of three runs (beyond a "
        "second: one run), and the share of it that the operations would take at the peak of multiply-adds."
    )
    return Table(HEADINGS, rows(), note)


def plot(seen: Sequence[Point], target: Path) -> None:
    """Time against each quantity that varies, as an SVG; the dashed lines are the operations at the peak."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ggufjac"  # the same numbers give the same file
    from matplotlib import pyplot as plt

    series = list(dict.fromkeys(point.series for point in seen))
    figure, axes = plt.subplots(1, len(series), figsize=(3.4 * len(series), 3.4), layout="constrained", sharey=True)
    for axis, name in zip(axes, series, strict=True):
        _panel(axis, name, [point for point in seen if point.series == name])
    axes[0].set_ylabel("seconds")
    axes[0].legend(fontsize="small")
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def _panel(axis: Axes, name: str, here: Sequence[Point]) -> None:
    values: list[Any] = [point.value for point in here]
    for i, (step, color) in enumerate(zip(STEPS, ("tab:gray", "tab:blue", "tab:orange"), strict=True)):
        axis.loglog(values, [point.seconds[i] for point in here], "o-", color=color, label=step)
        axis.loglog(values, [point.limits[i] for point in here], "--", color=color, linewidth=0.8)
    axis.set_xlabel(name)
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def main() -> None:
    table().print()
