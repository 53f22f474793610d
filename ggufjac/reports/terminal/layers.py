"""The report of `ggufjac layers`: the concepts of every layer, the tokens they draw on, and what each layer adds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.exactness import EXACT
from ggufjac.analyses.layers import EMBEDDING, BlockWrite, Emergence, LayerReading, Layers, LayerTriplet, Spectrum
from ggufjac.chat.prompt import contents_first
from ggufjac.maps.within.sites import LAYER
from ggufjac.readable import readable
from ggufjac.reports import phrases, words
from ggufjac.reports.cells import Cell, ColourScale
from ggufjac.reports.terminal import layout, phrase, runs
from ggufjac.reports.terminal.layout import ROOMY, WIDE
from ggufjac.rules import rules_called

#: The narrowest cell of the concept grid, and the widest that adds anything; what the lens's tokens take at most.
CELL, BROAD, LENS = 19, 40, 11
#: What a column of shares takes, and what stands beside them.
SHARE, BESIDE = 8, 8
#: Shares and their colours, from the largest down; below the last one a number is faint.
HEAT = (
    (0.6, "bold white on #2171b5"),
    (0.4, "bold white on #4292c6"),
    (0.25, "black on #6baed6"),
    (0.15, "black on #9ecae1"),
    (0.07, "black on #deebf7"),
    (0.03, ""),
)
AGAINST = "black on #fcbba1"
TARGET = "bold green"
LIKENESS = ColourScale(1.0, ".0f", "|cosine| of u with the last layer's", size=False)


@dataclass(frozen=True)
class InGrid:
    """A triplet in the grid of concepts, of the map from the tokens or of the layer alone."""

    triplet: LayerTriplet
    layerwise: bool


def report(layers: Layers) -> RenderableType:
    """The report of one prompt, layer by layer."""
    return layout.Fitted(lambda width: _draw(layers, width))


def _draw(a: Layers, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    for part in a.parts:
        explained = f"what the leading singular vectors of the map from the tokens to {phrases.map_of(part)} write"
        yield from layout.titled(
            phrases.section("Concepts", part), explained, _grid(a, a.of_part(part), width, layerwise=False)
        )
    if a.readings[0].layerwise is not None:
        for part in a.parts:
            explained = "the same for the map from what enters the layer"
            yield from layout.titled(phrases.alone(part), explained, _grid(a, a.of_part(part), width, layerwise=True))
    if len(a.parts) > 1:
        explained = "stable ranks: how many dimensions each map uses, in effect"
        yield from layout.titled("Dimension", explained, _dimension(a))
    for part in a.parts:
        explained = f"the share of {phrases.output_of(part)} that every token carries"
        yield from layout.titled(phrases.section("Input tokens", part), explained, _shares(a, part, width))
    explained = f"what each block gives to the logit of {a.target.token.shown} past all later ones; they add up"
    if a.phrase is not None:
        told = "ln p of it in what leaves each layer, and of each of its tokens behind those before"
        yield from layout.titled(f"The whole of {readable(a.phrase)}", told, phrase.of_lens(a.phrase_lens, a.phrase))
    yield from layout.titled("Direct contributions", explained, _writes(a, width))
    yield _foot(a, width)


def _head(a: Layers, width: int) -> RenderableType:
    residuals = [c.residual for r in a.readings for c in r.cumulative.concepts if c.sigma > 0]
    exact = a.reconstruction < EXACT[a.dtype]
    exactness = Text.assemble(
        (words.small(a.reconstruction), words.GOOD if exact else words.BAD),
        f"  is the most by which a layer's shares miss 1 ({a.dtype})",
    )
    if not rules_called(a.rules).reconstructs:
        left = words.percent(a.reconstruction)
        exactness = Text(f"rules {a.rules!r} do not reconstruct: a layer's shares miss up to {left} of it")
    if residuals:
        exactness.append(f"; singular triplets to a residual of {words.small(max(residuals))}")
    facts: list[tuple[str, RenderableType]] = [
        ("model", layout.model_line(a.model)),
        *layout.prompt_facts(a.prompt, a.turns, a.notes),
        *runs.run_facts(a.llama, a.device),
        ("predicts", layout.predictions_line(a.predictions, width)),
        ("emerges", _emergence(a)),
        ("exactness", exactness),
    ]
    if a.target.rank != 1:
        of = Text.assemble(_target(a), f" rank {a.target.rank}, {words.percent(a.target.probability)}")
        facts.insert(3, ("follows", of))
    return layout.frame("ggufjac layers", facts)


def _target(a: Layers) -> Text:
    return words.token(a.target.token, TARGET)


def _emergence(a: Layers) -> Text:
    out = Text.assemble(_target(a), " is the first token of the lens ", _since(a.lens))
    if LAYER not in a.parts:
        return out
    among = "" if a.read_all else ", of those read here"
    return out.append(f"; of the leading left vector {_since(a.concept)}{among}")


def _since(found: Emergence) -> str:
    if found.first is None:
        return "at no layer"
    if found.settled is None:
        return f"at layer {found.first} for the first time, but not at the last one"
    if found.first == found.settled:
        return f"from layer {found.first} on"
    return f"at layer {found.first} for the first time and from {found.settled} on"


def _grid(a: Layers, readings: Sequence[LayerReading], width: int, *, layerwise: bool) -> Table:
    """Layers by triplets: the tokens that each left vector writes, as many as there is room for."""
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    table.add_column("stable\nrank", justify="right")
    used = 15
    if width >= ROOMY:
        table.add_column("path", justify="right", style=words.DIM)
        used += 6
    if width >= WIDE:
        table.add_column("span", justify="right", style=words.DIM)
        used += 6
    if not layerwise:
        table.add_column("lens", no_wrap=True)
        table.add_column("rank", justify="right", style=words.DIM)
        used += LENS + 10
    k = len(readings[0].cumulative.concepts)
    columns = max(1, min(k, (width - used) // (CELL + 2)))
    cell = max(CELL, min(BROAD, (width - used) // columns - 2))
    for i in range(columns):
        table.add_column(f"σ  {words.numbered('u', i + 1)}", no_wrap=True)
    for reading in readings:
        spectrum = reading.layerwise if layerwise else reading.cumulative
        assert spectrum is not None
        cells: list[RenderableType] = [str(reading.layer), _rank(a, spectrum, layerwise)]
        if width >= ROOMY:
            cells.append(f"{spectrum.concepts[0].cosine:.2f}")
        if width >= WIDE:
            cells.append(f"{spectrum.overlap:.2f}")
        if not layerwise:
            cells += [_fitting(reading.lens, LENS, a.target.token), str(reading.rank)]
        cells += [_said(InGrid(concept, layerwise), cell, a.target.token) for concept in spectrum.concepts[:columns]]
        table.add_row(*cells)
    return table


def _rank(a: Layers, spectrum: Spectrum, layerwise: bool) -> str:
    exact = layerwise and a.layerwise_exact
    return words.dimension(spectrum.stable_rank, exact)


def _said(about: InGrid, width: int, target: Piece) -> Text:
    """A singular value and the tokens that its left vector writes."""
    concept = about.triplet
    if concept.sigma == 0:
        return Cell("·", words.DIM, value=0.0, strength=0.0, scale=LIKENESS, about=about)
    cell = Cell(value=concept.sigma, strength=concept.cosine, scale=LIKENESS, about=about)
    cell.append(f"{words.sigma(concept.sigma):>4} ", style=words.DIM)
    return cell.append_text(_fitting(concept.writes, width - cell.cell_len, target))


def _fitting(pieces: Sequence[Piece], width: int, target: Piece) -> Text:
    """The first tokens that fit into so many cells; the target stands out."""
    out = Text()
    for i, piece in enumerate(pieces):
        style = TARGET if piece.id == target.id else "" if i == 0 else words.DIM
        shown = words.token(piece, style)
        if i == 0:
            shown.truncate(width, overflow="ellipsis")
        elif out.cell_len + 3 + shown.cell_len > width:
            break
        else:
            out.append(" · ", style=words.DIM)
        out.append_text(shown)
    return out


def _dimension(a: Layers) -> Table:
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    ways = [False] + ([True] if a.readings[0].layerwise is not None else [])
    for layerwise in ways:
        for part in a.parts:
            table.add_column(f"{part}\n{'alone' if layerwise else ''}", justify="right")
    table.add_column("overlap with\nthe last layer", justify="right", style=words.DIM)
    at = {(reading.layer, reading.part): reading for reading in a.readings}
    for layer in sorted({reading.layer for reading in a.readings}):
        cells: list[RenderableType] = []
        for layerwise in ways:
            for part in a.parts:
                reading = at.get((layer, part))
                spectrum = None if reading is None else reading.layerwise if layerwise else reading.cumulative
                missing = Text("·", style=words.DIM)
                cells.append(missing if spectrum is None else _rank(a, spectrum, layerwise))
        shown = next(at[layer, part] for part in a.parts if (layer, part) in at)
        table.add_row(str(layer), *cells, f"{shown.cumulative.overlap:.2f}")
    return table


def _shares(a: Layers, part: str, width: int) -> Table:
    """Layers by tokens; where there are too many tokens, those that ever carry most, and the others in one column."""
    readings = a.of_part(part)
    constants = any(reading.constant_share for reading in readings)
    largest = [max(abs(reading.shares[t]) for reading in readings) for t in range(len(a.tokens))]
    columns = layout.chosen(contents_first(largest, a.turns), (width - BESIDE) // SHARE - constants)
    shown, left = columns.shown, columns.left
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    for t in shown:
        longest = words.LONGEST if width >= 2 * WIDE else SHARE - 1
        table.add_column(words.column_of(a.tokens[t], t, longest), justify="right", no_wrap=True)
    if left:
        table.add_column("others", justify="right", no_wrap=True)
    if constants:
        table.add_column("const.", justify="right", no_wrap=True)
    scale = ColourScale(max((largest[t] for t in shown[1:] or shown), default=0.0), ".0%", "share", size=False)
    for reading in readings:
        cells = [_heat(reading.shares[t], scale) for t in shown]
        if left:
            cells.append(_heat(sum(reading.shares[t] for t in left), scale))
        if constants:
            cells.append(_heat(reading.constant_share, scale))
        table.add_row(str(reading.layer), *cells)
    return table


def _heat(share: float, scale: ColourScale) -> Text:
    style = next((style for least, style in HEAT if share >= least), AGAINST if share <= -0.07 else words.DIM)
    return Cell(words.percent(share), style, value=share, scale=scale)


def _writes(a: Layers, width: int) -> Table:
    """Layers by blocks, with the sum so far, which ends at the logit."""
    parts = list(dict.fromkeys(write.part for write in a.writes if write.layer is not None))
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    largest = max(abs(write.logit) for write in a.writes)
    # the picture of the sum goes last: it shows where the logit comes from
    bars, sums = (width >= 80, 8 if width < ROOMY else 16)
    for part in parts:
        table.add_column(part, justify="right")
        if bars:
            table.add_column("")
    table.add_column("sum so far", justify="right")
    table.add_column("")
    total, ending = 0.0, a.target.logit

    def row(label: RenderableType, writes: dict[str, BlockWrite]) -> None:
        nonlocal total
        total += sum(write.logit for write in writes.values())
        cells: list[RenderableType] = []
        for part in parts:
            value = writes[part].logit if part in writes else None
            cells.append(Text("·", style=words.DIM) if value is None else words.signed(value))
            if bars:
                cells.append(words.bar(value or 0.0, largest))
        cells += [words.signed(total), words.bar(total, abs(ending), sums)]
        table.add_row(label, *cells)

    outside = [write for write in a.writes if write.layer is None]
    for write in outside[:1]:
        row(Text(write.part, style=words.DIM), {parts[0]: write} if write.part != EMBEDDING else {"": write})
    for layer in sorted({write.layer for write in a.writes if write.layer is not None}):
        row(str(layer), {write.part: write for write in a.writes if write.layer == layer})
    for write in outside[1:]:
        row(Text(write.part, style=words.DIM), {"": write})
    table.add_section()
    cells: list[RenderableType] = []
    for part in parts:
        cells.append(words.signed(sum(write.logit for write in a.writes if write.part == part)))
        if bars:
            cells.append("")
    cells += [Text(f"{ending:+.2f}", style="bold"), Text("the logit" if sums > 9 else "logit", style=words.DIM)]
    table.add_row(Text("sum", style=words.DIM), *cells)
    return table


def _foot(a: Layers, width: int) -> RenderableType:
    numbers = [abs(write.logit) for write in a.writes]
    missing = abs(sum(write.logit for write in a.writes) - a.target.logit) / (max(numbers) or 1.0)
    likeness = ["path: |cosine| of u₁ with the last layer's"] if width >= ROOMY else []
    likeness += ["span: how much of all u lies in the span of the last layer's"] if width >= WIDE else []
    return layout.notes(
        f"lens: the place itself through the output norm and the head; rank: of {a.target.token.shown} there",
        "σ, u: of the map that ends in the lens; stable rank: ‖J‖²/σ₁² (≈: partly from random probes)",
        *(["; ".join(likeness)] if likeness else []),
        f"contributions add up to the logit within {words.small(missing)} of the largest",
        f"{phrases.rules(a.rules)}; {words.duration(sum(a.seconds.values()))} of computing",
    )
