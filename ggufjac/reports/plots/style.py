"""What all pictures look alike in: colours that colour-blind readers can tell apart, type, and room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator

from ggufjac.reports.plots.text import families

#: Okabe and Ito's colours, on white; the first two also stand for what is positive and negative.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, FAINT, LINE = "#222321", "#6f716d", "#d9d7d0"
#: From nothing to much, and from against to for.
SEQUENTIAL = LinearSegmentedColormap.from_list("ggufjac.sequential", ["#ffffff", "#9ccbe8", BLUE, "#004a76"])
DIVERGING = LinearSegmentedColormap.from_list("ggufjac.diverging", ["#8f3f00", VERMILION, "#ffffff", BLUE, "#004a76"])
#: The first one of a pale scale that leaves black text readable.
PALE = LinearSegmentedColormap.from_list("ggufjac.pale", ["#ffffff", "#a9d2ec"])


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's settings while pictures are made and written; as they were before afterwards."""
    settings: dict[Any, Any] = {
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=CYCLE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.titlesize": 10,
        "axes.unicode_minus": True,
        "figure.facecolor": "white",
        "font.family": families(),
        "font.size": 9.5,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "ggufjac",
        "text.color": INK,
        "text.parse_math": False,  # a dollar is a token like any other
        "xtick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.color": FAINT,
        "ytick.labelcolor": INK,
    }
    with matplotlib.rc_context(settings):
        yield


def figure(width: float, height: float, title: str, subtitle: str = "") -> Figure:
    """An empty figure of so many inches, with a title at its left."""
    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, hspace=0.05, wspace=0.05)
    made = Figure(figsize=(width, height), layout=engine)
    made.suptitle(f"{title}\n" if subtitle else title, x=0.012, ha="left", fontsize=12.5, fontweight="bold")
    if subtitle:
        # the second line of the title's place, in another hand
        made.text(0.012, 1 - 0.38 / height, subtitle, ha="left", va="center", fontsize=9.5, color=FAINT)
    return made


def bare(axes: Axes) -> None:
    """No frame and no ticks, only their labels."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers, at 1, 2 and 5 of every decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(LogLocator(numticks=99))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5), numticks=99))
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
