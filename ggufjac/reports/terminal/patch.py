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
from ggufjac.reports.cells import Cell, ColourScale
from ggufjac.reports.terminal import layout, runs

#: Places that are told in words; positions that have a row.
PLACES, ROWS = 8, 24
#: What a column of a layer takes at least, what the columns beside them, and the longest token there.
NARROW, BESIDE, TOKEN = 2, 22, 14
#: Fractions and their colours, from the largest down; below the last one a number is faint.
HEAT = (
    (0.8, "bold white on #2171b5"),
    (0.5, "bold white on #4292c6"),
    (0.25, "black on #6baed6"),
    (0.1, "black on #9ecae1"),
    (0.05, "black on #deebf7"),
)
AGAINST = "black on #fcbba1"
RESTORED = ColourScale(1.0, ".0%", "of the difference is restored")
DIFFERS = "bold cyan"


@dataclass(frozen=True)
class InPatchGrid:
    """A cell of a grid: the numbers of the layer and the position among those of the part."""

    part: PatchedPart
    row: int
    column: int


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
    if any(part.estimates for part in a.parts):
        cells = sum(len(part.layers) for part in a.parts) * len(a.positions)
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
    what the parts write tells where it comes from.
    """
    wanted = [part for part in a.parts if part.part != "stream"] or list(a.parts)
    found = [
        InPatchGrid(part, i, j) for part in wanted for i in range(len(part.layers)) for j in range(len(a.positions))
    ]
    return sorted(found, key=lambda place: -abs(restored(place)))


def restored(place: InPatchGrid) -> float:
    return place.part.restored[place.row][place.column]


def _places(a: Patching) -> Table:
    table = layout.table()
    table.add_column("place")
    table.add_column("restores", justify="right")
    for estimate in a.parts[0].estimates:
        table.add_column(estimate.rules, justify="right", style=words.DIM)
    for place in places(a)[:PLACES]:
        cells = [percent(e.restored[place.row][place.column]) for e in place.part.estimates]
        table.add_row(place_line(a, place), _percent(place), *cells)
    return table


def place_line(a: Patching, place: InPatchGrid) -> Text:
    """A place in words: layer 14 attention at ␣France."""
    token = a.tokens[a.positions[place.column]]
    out = Text(f"layer {place.part.layers[place.row]} {phrases.part_called(place.part.part)} at ")
    out.append_text(words.token(token.clean))
    if token.clean.id != token.corrupt.id:
        out.append(" for ").append_text(words.token(token.corrupt, ""))
    return out.append(f" ({token.position})", style=words.DIM)


def percent(fraction: float) -> str:
    """Whole percent with a sign, and no -0."""
    return f"{round(100 * fraction):+d}%"


def _percent(place: InPatchGrid) -> Text:
    value = restored(place)
    return Cell(percent(value), "red" if value < 0 else "", value=value)


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
        cells = [_cell(InPatchGrid(part, i, j)) for i in shown.layers]
        table.add_row(str(token.position), words.token(token.clean, DIFFERS if differs else "", TOKEN), *cells)
    return table


def _cell(place: InPatchGrid) -> Text:
    value = restored(place)
    style = next((style for least, style in HEAT if value >= least), words.DIM)
    return Cell(
        f"{round(100 * value)}",
        AGAINST if value <= -HEAT[-1][0] else style,
        value=value,
        scale=RESTORED,
        about=place,
    )


def _estimates(a: Patching) -> Table:
    table = layout.table()
    table.add_column("part")
    for estimate in a.parts[0].estimates:
        table.add_column(estimate.rules, justify="right")
    for part in a.parts:
        best = max((e.correlation for e in part.estimates if e.correlation is not None), default=None)
        table.add_row(
            phrases.part_called(part.part),
            *(
                Cell(
                    "—" if e.correlation is None else f"{e.correlation:.2f}",
                    "bold" if e.correlation == best is not None else "",
                    value=e.correlation,
                )
                for e in part.estimates
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
