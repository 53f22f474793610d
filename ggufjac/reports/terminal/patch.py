"""The report of `ggufjac patch`: the places that matter, positions by layers for every part, and what the estimates of
one sweep are worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.patch import PatchedPart, Patching
from ggufjac.reports import phrases, words
from ggufjac.reports.cells import Cell
from ggufjac.reports.terminal import layout, patchedheads, runs
from ggufjac.reports.terminal.patchgrid import (
    DIFFERS,
    ROWS,
    InPatchGrid,
    cell_of,
    percent,
    percent_cell,
    place_line,
    restored,
)

#: Places that are told in words.
PLACES = 8
#: What a column of a layer takes at least, what the columns beside them, and the longest token there.
NARROW, BESIDE, TOKEN = 2, 22, 14


@dataclass(frozen=True)
class Shown:
    """The layers of a part that have a column, by their number among all; how they were chosen."""

    layers: Sequence[int]
    how: str


def report(patching: Patching) -> RenderableType:
    """The report of two prompts, one's values put into the other's run."""
    return layout.Fitted(lambda width: _draw(patching, width))


def _draw(a: Patching, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    yield from layout.titled("Places", "whose clean value alone restores the most", _places(a))
    for part in a.parts:
        shown = columns_of(part, width)
        explained = f"{phrases.patched(part.part)}: percent restored, by position and layer{shown.how}"
        yield from layout.titled(heading(part.part), explained, _grid(a, part, shown))
    yield from patchedheads.sections(a, width)
    if any(part.estimates for part in a.parts):
        cells = sum(len(part.layers) for part in a.parts) * len(a.positions)
        cells += sum(map(len, a.heads.restored)) if a.heads else 0
        explained = f"one backward sweep each, held against the {cells} real cells: Pearson's correlation"
        yield from layout.titled("Estimates", explained, _estimates(a))
    yield _foot(a, width)


def heading(part: str) -> str:
    """The title of a part's grid."""
    name = phrases.part_called(part)
    return name[0].upper() + name[1:]


# --- the head ----------------------------------------------------------------------------------------------------


def _head(a: Patching, width: int) -> RenderableType:
    return layout.frame(
        "ggufjac patch",
        [
            ("model", layout.model_line(a.model)),
            *runs.run_facts(None, a.device),
            ("clean", _prompt(a, clean=True)),
            ("", layout.predictions_line(a.clean_predictions, width)),
            ("corrupt", _prompt(a, clean=False)),
            ("", layout.predictions_line(a.predictions, width)),
            *layout.note_facts(a.notes),
            ("follows", _followed(a)),
            *layout.meant_facts(a.target, a.clean_predictions),
        ],
    )


def _prompt(a: Patching, *, clean: bool) -> Text:
    """A prompt token by token, those marked where the two differ."""
    out = Text()
    for token in a.tokens:
        piece = token.clean if clean else token.corrupt
        if token.clean.id == token.corrupt.id:
            out.append(piece.shown.replace("␣", " "), style="italic")
        else:
            out.append(piece.shown.replace("␣", " "), style=f"{DIFFERS} italic underline")
    return out


def _followed(a: Patching) -> Text:
    what = words.token(a.target.token)
    what = (
        Text("ln p of ").append_text(what)
        if a.against is None
        else what.append(" over ", style="").append_text(words.token(a.against.token))
    )
    what.append(f": {a.clean_metric:+.2f} at the clean prompt, {a.corrupt_metric:+.2f} at the corrupt one; ", style="")
    return what.append("what restores the clean number is 100%", style=words.DIM)


# --- places in words ---------------------------------------------------------------------------------------------


def places(a: Patching) -> list[InPatchGrid]:
    """All places, those that restore the most first, of the stream only where it changes hands.

    The stream restores everything from the first layer on at the positions that differ, which says nothing by itself;
    what the parts write and heads read tells where it comes from.
    """
    wanted = [part for part in a.parts if part.part != "stream"] or list(a.parts)
    found = [
        InPatchGrid(part, i, j) for part in wanted for i in range(len(part.layers)) for j in range(len(a.positions))
    ]
    if a.heads is not None:
        found += [InPatchGrid(a.heads, i, j) for i, line in enumerate(a.heads.restored) for j in range(len(line))]
    return sorted(found, key=lambda place: -abs(restored(place)))


def _places(a: Patching) -> Table:
    table = layout.table()
    table.add_column("place")
    table.add_column("restores", justify="right")
    for estimate in a.parts[0].estimates:
        table.add_column(estimate.rules, justify="right", style=words.DIM)
    for place in places(a)[:PLACES]:
        cells = [percent(e.restored[place.row][place.column]) for e in place.part.estimates]
        table.add_row(place_line(a, place), percent_cell(place), *cells)
    return table


# --- grids -------------------------------------------------------------------------------------------------------


def columns_of(part: PatchedPart, width: int) -> Shown:
    """The layers that have a column: all; where there is no room, of the stream every so many, the last one among
    them, and of what a part writes those that restore the most somewhere."""
    n = len(part.layers)
    each = max(len(f"{round(100 * value)}") for line in part.restored for value in line)
    room = max(1, (width - BESIDE) // (max(NARROW, each) + layout.BETWEEN))
    if n <= room:
        return Shown(range(n), "")
    if part.part == "stream":
        every = -(-n // room)
        return Shown(range((n - 1) % every, n, every), f", every {_nth(every)} layer")
    most = sorted(range(n), key=lambda i: -max(map(abs, part.restored[i])))
    return Shown(sorted(most[:room]), f"; the {room} of {n} layers that restore the most")


def _nth(n: int) -> str:
    return f"{n}{ {2: 'nd', 3: 'rd'}.get(n, 'th') }"


def rows_of(a: Patching, part: PatchedPart) -> Sequence[int]:
    """The positions that have a row, by their number: those where the part restores the most."""
    n = len(a.positions)
    if n <= ROWS:
        return range(n)
    return sorted(sorted(range(n), key=lambda j: -max(abs(line[j]) for line in part.restored))[:ROWS])


def _grid(a: Patching, part: PatchedPart, shown: Shown) -> Table:
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM)
    table.add_column("token", no_wrap=True)
    for i in shown.layers:
        table.add_column(str(part.layers[i]), justify="right", no_wrap=True)
    for j in rows_of(a, part):
        token = a.tokens[a.positions[j]]
        differs = token.clean.id != token.corrupt.id
        cells = [cell_of(InPatchGrid(part, i, j)) for i in shown.layers]
        table.add_row(str(token.position), words.token(token.clean, DIFFERS if differs else "", TOKEN), *cells)
    return table


def _estimates(a: Patching) -> Table:
    table = layout.table()
    table.add_column("part")
    for estimate in a.parts[0].estimates:
        table.add_column(estimate.rules, justify="right")
    rows = [(phrases.part_called(part.part), part.estimates) for part in a.parts]
    if a.heads is not None:
        rows.append(("heads", a.heads.estimates))
    for name, estimates in rows:
        best = max((e.correlation for e in estimates if e.correlation is not None), default=None)
        table.add_row(
            name,
            *(
                Cell(
                    "—" if e.correlation is None else f"{e.correlation:.2f}",
                    "bold" if e.correlation == best is not None else "",
                    value=e.correlation,
                )
                for e in estimates
            ),
        )
    return table


# --- the foot ----------------------------------------------------------------------------------------------------


def _foot(a: Patching, width: int) -> RenderableType:
    lines = [
        "restores: (patched − corrupt) / (clean − corrupt) of the number that is followed; everything behind the patch "
        "is computed anew",
    ]
    if len(a.parts[0].estimates):
        held = "; ".join(f"{e.rules}: {phrases.held(e.rules)}" for e in a.parts[0].estimates)
        lines.append(f"{held}, at their values for the corrupt prompt")
    lines += patchedheads.notes(a)
    if a.first:
        lines.append(
            f"before position {a.first} the prompts are the same and so are their runs; nothing is patched there"
        )
    if len(a.positions) > ROWS:
        lines.append(f"{len(a.positions) - ROWS} of {len(a.positions)} positions have no row; they are in --json")
    real = a.seconds.get("patched runs", 0.0)
    swept = a.seconds.get("estimates", 0.0)
    took = f"{a.n_runs} patched runs in {words.duration(real)}"
    if n := len(a.parts[0].estimates):
        took += f", {n} {'estimate' if n == 1 else 'estimates'} in {words.duration(swept)}"
    return layout.notes(*lines, f"{took}; {words.duration(sum(a.seconds.values()))} in all")
