"""The report of `ggufjac lens read`: layers by positions for every lens, and the ranks of what is followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.lens.options import CORPUS, LOGIT, OWN
from ggufjac.analyses.lens.read import LensCell, LensGrid, LensGrids
from ggufjac.readable import readable
from ggufjac.reports import words
from ggufjac.reports.cells import Cell, ColourScale
from ggufjac.reports.terminal import layout, runs

#: What a column of tokens takes, at least and at most, and what stands beside the columns.
NARROW, BROAD, BESIDE = 9, 16, 8
#: A column of ranks.
RANKS = 9
#: Probabilities of a cell's first token from which it is plain, and from which it is bold.
PLAIN, BOLD = 0.05, 0.5
#: Ranks and their colours: the first, among ten, among a hundred.
HEAT = ((1, "bold white on #2171b5"), (10, "black on #6baed6"), (100, "black on #deebf7"))
PROBABILITY = ColourScale(1.0, ".1%", "probability of the first token", size=False)
FOLLOWED = "bold green"


@dataclass(frozen=True)
class InLens:
    """A cell of a grid."""

    cell: LensCell
    layer: int
    position: int


def report(grids: LensGrids) -> RenderableType:
    """The report of one prompt, read through lenses."""
    return layout.Fitted(lambda width: _draw(grids, width))


def _draw(a: LensGrids, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    for grid in a.grids:
        yield from layout.titled(f"Lens: {lens_name(a, grid)}", _described(grid), _grid(a, grid, width))
        for i, target in enumerate(a.targets):
            explained = f"among all tokens, through the lens {lens_name(a, grid)}"
            yield from layout.titled(f"Ranks of {target.shown}", explained, _ranks(a, grid, i, width))
    yield _foot(a, width)


def _head(a: LensGrids, width: int) -> RenderableType:
    facts: list[tuple[str, RenderableType]] = [
        ("model", layout.model_line(a.model)),
        *layout.prompt_facts(a.prompt, a.turns, a.notes),
        *runs.run_facts(None, a.device),
        ("predicts", layout.predictions_line(a.predictions, width)),
    ]
    for i, target in enumerate(a.targets):
        facts.append(("follows", Text.assemble(words.token(target, FOLLOWED), " ", _best(a, i))))
    if len(a.grids) > 1:
        same = "; ".join(f"{lens_name(a, g)} in {words.percent(g.agreement)}" for g in a.grids[1:])
        facts.append(("agreement", Text(f"the same first token as {lens_name(a, a.grids[0])}: {same} of the cells")))
    return layout.frame("ggufjac lens read", facts)


def _best(a: LensGrids, i: int) -> str:
    """Where a target ranks highest, lens by lens, before the last layer, which all lenses read alike."""
    found = []
    for grid in a.grids:
        before = [row for row in grid.rows if row.layer < a.n_layer - 1] or grid.rows
        rank, layer, at = min(
            (cell.ranks[i], row.layer, position)
            for row in before
            for cell, position in zip(row.cells, a.positions, strict=True)
        )
        found.append(f"{lens_name(a, grid)}: rank {rank:,} at best (layer {layer}, behind {a.tokens[at].shown} {at})")
    return "; ".join(found)


def lens_name(a: LensGrids, grid: LensGrid) -> str:
    """What a lens is called: a file without its folders, but for those that tell it from another one here."""
    parts = grid.name.split("/")
    for n in range(1, len(parts)):
        end = "/".join(parts[-n:])
        if not any(f"/{other.name}".endswith(f"/{end}") for other in a.grids if other is not grid):
            return readable(end)
    return readable(grid.name)


def _described(grid: LensGrid) -> str:
    """What the lens is, in a line."""
    texts = f"{grid.n_prompts} text" + ("s" if grid.n_prompts != 1 else "")
    if grid.name == LOGIT:
        return "every state as it is, through the output norm and the head"
    if grid.name == OWN:
        return f"what each state does to this prompt's end (rules {grid.rules!r})"
    by = f", rules {grid.rules!r}" if grid.rules else ""
    if grid.name == CORPUS:
        error = "" if grid.error is None else f", ± {words.percent(grid.error)}"
        return f"mean Jacobian of {texts}{by}{error}"
    return f"mean Jacobian of {texts}{by}"


def _columns(a: LensGrids, width: int, each: int) -> Sequence[int]:
    """The positions that have a column, the last ones where there is no room for all."""
    room = max(1, min(layout.COLUMNS, (width - BESIDE) // (each + layout.BETWEEN)))
    return range(len(a.positions))[-room:]


def _grid(a: LensGrids, grid: LensGrid, width: int) -> Table:
    shown = _columns(a, width, NARROW)
    each = max(NARROW, min(BROAD, (width - BESIDE) // len(shown) - layout.BETWEEN))
    table = _table(a, shown, each)
    followed = {target.id for target in a.targets}
    for row in grid.rows:
        cells = [_said(InLens(row.cells[i], row.layer, a.positions[i]), followed, each) for i in shown]
        table.add_row(str(row.layer), *cells)
    return table


def _table(a: LensGrids, shown: Sequence[int], each: int) -> Table:
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    for i in shown:
        position = a.positions[i]
        table.add_column(words.column_of(a.tokens[position], position, each), no_wrap=True)
    return table


def _said(about: InLens, followed: set[int], each: int) -> Text:
    """The first token of a cell, the stronger the likelier it is."""
    top = about.cell.top
    if not top:
        return Cell("·", words.DIM, about=about)
    p = about.cell.probabilities[0]
    style = FOLLOWED if top[0].id in followed else "bold" if p >= BOLD else "" if p >= PLAIN else words.DIM
    cell = Cell("", value=p, scale=PROBABILITY, about=about)
    cell.append_text(words.token(top[0], style, each))
    cell.truncate(each, overflow="ellipsis")
    return cell


def _ranks(a: LensGrids, grid: LensGrid, i: int, width: int) -> Table:
    shown = _columns(a, width, RANKS)
    table = _table(a, shown, RANKS)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in grid.rows:
        cells = []
        for j in shown:
            rank = row.cells[j].ranks[i]
            style = next((style for most, style in HEAT if rank <= most), words.DIM)
            cells.append(Cell(f"{rank:,}", style, value=rank, about=InLens(row.cells[j], row.layer, a.positions[j])))
        table.add_row(str(row.layer), *cells)
    return table


def _foot(a: LensGrids, width: int) -> RenderableType:
    left = len(a.positions) - len(_columns(a, width, NARROW))
    lines = ["shown is the likeliest token there, bold above 50%, faint below 5%"]
    if a.words:
        lines.append("tokens without a letter or digit are not shown; ranks count all tokens")
    if left:
        also = " and --html" if len(a.positions) <= layout.COLUMNS else ""
        lines.append(f"{left} earlier positions have no room here; they are in --json{also}")
    swept = "; ".join(f"{g.columns} columns for {lens_name(a, g)}" for g in a.grids if g.columns)
    took = f"{words.duration(sum(a.seconds.values()))} of computing"
    return layout.notes(*lines, f"{swept}; {took}" if swept else took)
