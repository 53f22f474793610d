"""The report of a lens: how it was fitted, and how large and how sure its matrices are."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.maps.lens.lens import Lens
from ggufjac.readable import readable, visible
from ggufjac.reports import words
from ggufjac.reports.terminal import layout

#: Blocks in a column of the table.
DEEP = 12
UNKNOWN = "·"


def lens_report(lens: Lens, path: str, model: str | None = None) -> RenderableType:
    """The report of a lens in a file; model: what it can be read with, as it was named (None: see the file)."""
    return layout.Fitted(lambda width: _draw(lens, path, model, width))


def _draw(lens: Lens, path: str, model: str | None, width: int) -> Iterable[RenderableType]:
    origin = lens.origin
    name = Text(readable(origin.model) or "not said", style="bold" if origin.model else words.DIM)
    if origin.architecture:
        name.append(f"  {readable(origin.architecture)}", style="not bold")
    facts: list[tuple[str, RenderableType]] = [("model", name)]
    facts.append(("rules", Text(readable(origin.rules) or "not said", style="" if origin.rules else words.DIM)))
    texts = f"{lens.n_prompts}"
    if origin.length:
        texts += f" of up to {origin.length} tokens, the first {origin.skip} of each left out"
    facts.append(("texts", Text(texts)))
    if origin.corpus:
        facts.append(("corpus", Text(readable(origin.corpus))))
    rows = next(iter(lens.jacobians.values())).shape
    facts.append(("matrices", Text(f"{len(lens.layers)} of {rows[0]} x {rows[1]}")))
    facts.append(("error", _error(lens)))
    facts.append(("file", Text(visible(path))))
    yield layout.frame("ggufjac lens", facts)
    yield from layout.titled("Blocks", "what a matrix does to a stream, and how sure it is", _table(lens, width))
    yield layout.notes(
        "‖J‖: over √d, so that it is 1 for a matrix that changes no length",
        "error: the standard error of J, as a share of ‖J‖; the last block is read as it is",
    )
    named = visible(model) if model else "MODEL"
    yield Text.assemble(("next: ", words.DIM), f'ggufjac lens read {named} "PROMPT" --lens {visible(path)}')


def _error(lens: Lens) -> Text:
    largest = lens.largest_error
    if math.isnan(largest):
        why = "one text" if lens.n_prompts == 1 else "the file does not say"
        return Text(f"not known ({why})", style=words.DIM)
    layer = max(lens.layers, key=lens.standard_error)
    return Text(f"{words.percent(largest)} of ‖J‖ at most, at block {layer}")


def _table(lens: Lens, width: int) -> Table:
    """As many blocks beside each other as fit, downwards first."""
    most = max(1, width // 26)
    deep = max(DEEP, -(-len(lens.layers) // most))
    columns = [lens.layers[at : at + deep] for at in range(0, len(lens.layers), deep)]
    table = layout.table()
    for _ in columns:
        table.add_column("block", justify="right", style=words.DIM)
        table.add_column("‖J‖", justify="right")
        table.add_column("error", justify="right")
    for i in range(min(deep, len(lens.layers))):
        cells: list[str] = []
        for column in columns:
            cells += _cells(lens, column[i]) if i < len(column) else ["", "", ""]
        table.add_row(*cells)
    return table


def _cells(lens: Lens, layer: int) -> list[str]:
    j, error = lens.jacobian(layer), lens.standard_error(layer)
    size = float(j.double().norm()) / math.sqrt(j.shape[1])
    return [str(layer), words.sigma(size), UNKNOWN if math.isnan(error) else words.percent(error)]
