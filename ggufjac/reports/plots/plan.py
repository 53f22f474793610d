"""Pictures of `plan`: what takes the time, and what takes the memory."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.plan import Plan
from ggufjac.readable import readable
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import shortened


def pictures(p: Plan) -> Iterator[Picture]:
    title = f"The cost of {p.what!r} of {shortened(readable(p.model.name), 40)}"
    fig = figure(8.6, 2.2 + 0.3 * len(p.steps), title, f"{p.n_tokens} tokens, {p.dtype}; about {p.seconds:.3g} s")
    time, memory = fig.subplots(1, 2, width_ratios=(3, 2))
    shapes.bars(time, [f"{s.name}, {s.sweeps} x {s.columns}" for s in p.steps], [s.seconds for s in p.steps], ".2g")
    time.set_xlabel("seconds")
    time.set_title("steps: sweeps x columns")
    held = [("the program", p.base), ("coefficients", p.coefficients), ("columns", p.working), ("on disk", p.disk)]
    shapes.bars(memory, [name for name, _ in held], [size / 1e6 for _, size in held], ".0f")
    memory.set_xlabel(f"MB, of a budget of {p.memory / 1e6:.0f}")
    memory.set_title("memory beside the mapped file")
    yield Picture("cost", title, fig)
