"""What a lens's file holds, as a terminal shows it."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.maps.lens.lens import Lens
from ggufjac.readable import readable
from ggufjac.reports import words
from ggufjac.reports.terminal import layout


def lens_report(lens: Lens, out: str | Path, model: str | None = None) -> RenderableType:
    """Where it comes from, and how settled every block's matrix is. model: what to read with it."""
    o, error = lens.origin, lens.largest_error
    facts: list[tuple[str, RenderableType]] = [
        ("file", Text(readable(str(out)), style="bold")),
        ("model", Text(f"{readable(o.model)}  {readable(o.architecture)}" if o.model else "not said")),
        ("rules", Text(readable(o.rules) if o.rules else "not said")),
        ("texts", Text(_texts(lens))),
        ("matrices", Text(f"{len(lens.layers)} of {lens.d_model} x {lens.d_model}, layers {_span(lens.layers)}")),
    ]
    if not math.isnan(error):
        facts.append(("settled", Text(f"to {words.percent(error)} of its length, the least settled block")))
    shown = [layout.frame("ggufjac lens", facts), Text(), _table(lens)]
    notes = [
        "J: the mean Jacobian from what leaves a layer to what leaves the last one; ±: its standard error, over ‖J‖"
    ]
    if model is not None:
        notes.append(f'next: ggufjac lens read {model} "your prompt" --lens {readable(str(out))}')
    return Group(*shown, layout.notes(*notes))


def _texts(lens: Lens) -> str:
    o = lens.origin
    each = f" of {o.length} tokens, the first {o.skip} of each left out" if o.length else ""
    return f"{lens.n_prompts:,}{each}" + (f"; {readable(o.corpus)}" if o.corpus else "")


def _span(layers: tuple[int, ...]) -> str:
    whole = layers == tuple(range(layers[0], layers[-1] + 1))
    return f"{layers[0]}–{layers[-1]}" if whole and len(layers) > 1 else ", ".join(map(str, layers))


def _table(lens: Lens) -> Table:
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    table.add_column("‖J‖", justify="right")
    table.add_column("±", justify="right")
    table.add_column("mean diagonal", justify="right")
    for layer in lens.layers:
        j, error = lens.jacobian(layer), lens.standard_error(layer)
        same = float(j.diagonal().mean()) if j.shape[0] == j.shape[1] else math.nan
        cells = ("" if math.isnan(x) else text for x, text in ((error, words.percent(error)), (same, f"{same:.3f}")))
        table.add_row(str(layer), f"{float(j.norm()):.4g}", *cells)
    return table
