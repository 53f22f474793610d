"""The report of `ggufjac attribute`: tokens first, then components, layers by tokens, heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.attribute import Attribution, WriteTerms
from ggufjac.chat.prompt import contents_first
from ggufjac.reports import account, phrases, words
from ggufjac.reports.cells import Cell, ColourScale
from ggufjac.reports.constants import matter, mostly
from ggufjac.reports.terminal import heads, layout, phrase, runs, terms
from ggufjac.reports.terminal.layout import ROOMY, WIDE
from ggufjac.rules import rules_called

#: What a column of numbers takes, and the columns beside the tokens' in the table of layers.
CELL, BESIDE = 8, 46


def report(attribution: Attribution) -> RenderableType:
    """The report of one prompt's attribution."""
    return layout.Fitted(lambda width: _draw(attribution, width))


def _draw(a: Attribution, width: int) -> Iterable[RenderableType]:
    main = words.phrase(phrases.question(a.questions[0])).plain
    exact = rules_called(a.rules).reconstructs
    yield _head(a, width)
    pieces = [row.token for row in a.tokens]
    told = mostly(a.constant_sources)
    yield from phrase.sections(a.phrases, a.phrase_against, a.words, a.sinks, width)
    table = terms.of_words(a.accounts, a.words, pieces, width, told, a.turns)
    entering = ", with the constants that enter there" if a.constants_at_tokens else ""
    explained = words.phrase(account.about(a.accounts[0])).plain + entering
    if a.phrase_against is not None and a.questions[0].against is None:
        explained += ", with which both texts begin"
    yield from layout.titled("Its first token" if a.phrases else account.title(a.rules), explained, table)
    if matter(a.constant_sources, a.questions[0].value):
        explained = f"what in the network itself gives to {main}, and where it enters"
        yield from layout.titled("Constants", explained, terms.of_constants(a.constant_sources, pieces, width))
    if a.components:
        explained = f"what the leading singular triplets of the whole map give to {main}"
        yield from layout.titled("Components", explained, _components(a, width))
    if a.writes:
        explained = f"paths to {main} by the token where they begin and their last write"
        yield from layout.titled("Layers", explained, _layers(a, width))
    yield from heads.sections(a, main, width)
    yield layout.notes(
        *account.notes(a.accounts, pieces, a.llama is not None),
        *(_of_layers(exact) if a.writes else ()),
        *heads.notes(a, width),
        f"{phrases.rules(a.rules)}; {sum(a.seconds.values()):.1f} s of computing",
    )


def _of_layers(exact: bool) -> tuple[str, ...]:
    """What the words of the table of layers mean."""
    return (
        "last write: the last branch (attn, mlp) that a path goes through; from there it stays in the residual stream",
        "direct: paths through no branch; at last: "
        + (
            "how much of the sum has reached the last position above that layer"
            if exact
            else "what the last position's state above that layer is worth"
        ),
    )


def _head(a: Attribution, width: int) -> RenderableType:
    return layout.frame(
        "ggufjac attribute",
        [
            ("model", layout.model_line(a.model)),
            *layout.prompt_facts(a.prompt, a.turns, a.notes),
            *runs.run_facts(a.llama, a.device),
            ("predicts", layout.predictions_line(a.predictions, width)),
            ("explains", terms.explains(a.accounts[0])),
            *layout.meant_facts(a.questions[0].target, a.predictions),
            ("exactness", runs.exactness_line(a.reconstruction, a.dtype, a.llama, a.rules)),
        ],
    )


def _components(a: Attribution, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM)
    table.add_column("σ", justify="right")
    table.add_column("term", justify="right")
    table.add_column("")
    table.add_column("writes (u)")
    table.add_column("mostly through", no_wrap=True)
    if width >= WIDE:
        table.add_column("reads there (v)")
    largest = max(abs(c.terms[0]) for c in a.components)
    for i, c in enumerate(a.components, 1):
        t = max(range(len(c.tokens)), key=lambda t: abs(c.tokens[t]))
        through = Text.assemble(words.token(a.tokens[t].token), " ", words.signed(c.tokens[t]))
        table.add_row(
            str(i),
            words.sigma(c.triplet.sigma),
            words.signed(c.terms[0]),
            words.bar(c.terms[0], largest),
            words.tokens(c.triplet.writes, 3 + roomy),
            through,
            *([words.tokens(c.triplet.reads, 3)] if width >= WIDE else []),
        )
    table.add_row("", "", words.signed(a.rest[0]), "", Text("all other components", style=words.DIM), "")
    if a.constants[0]:
        table.add_row("", "", words.signed(a.constants[0]), "", Text("constants", style=words.DIM), "")
    if words.worth(a.missed[0]):
        table.add_row("", "", words.signed(a.missed[0]), "", Text("not credited", style=words.DIM), "")
    table.add_section()
    total = sum(c.terms[0] for c in a.components) + a.rest[0] + a.constants[0] + a.missed[0]
    table.add_row("", "", words.signed(total), "", Text("sum", style=words.DIM), "")
    return layout.narrowed(table, width, ("mostly through", "σ"))


def _layers(a: Attribution, width: int) -> Table:
    """Rows: layers, with all their writes; columns: the tokens that matter most, and what is left of the others."""
    columns = layout.chosen(contents_first([abs(row.terms[0]) for row in a.tokens], a.turns), (width - BESIDE) // CELL)
    shown, left = columns.shown, columns.left
    parts = list(dict.fromkeys(row.part for row in a.writes[1:]))
    constants = any(row.constant for row in a.writes)
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    for t in shown:
        longest = words.LONGEST if width >= 2 * WIDE else CELL - 1
        table.add_column(words.column_of(a.tokens[t].token, t, longest), justify="right", no_wrap=True)
    if left:
        table.add_column("others", justify="right", style=words.DIM)
    if constants:
        table.add_column("const.", justify="right", style=words.DIM)
    for part in parts:
        table.add_column(part, justify="right")
    table.add_column("sum", justify="right", style="bold")
    table.add_column("at last", justify="right", style=words.DIM)
    rows = [("direct", a.writes[:1], 0)]
    for layer in sorted({w.layer for w in a.writes if w.layer is not None}):
        rows.append((str(layer), tuple(w for w in a.writes if w.layer == layer), layer + 1))
    # as with bars: the first token would leave the others without colour
    scale = ColourScale(max(abs(sum(w.tokens[t] for w in writes)) for _, writes, _ in rows for t in shown[1:] or shown))

    def row(label: str, writes: Sequence[WriteTerms], last: RenderableType) -> list[RenderableType]:
        cells = [_shade(sum(w.tokens[t] for w in writes), scale) for t in shown]
        if left:
            cells.append(words.signed(sum(w.tokens[t] for w in writes for t in left)))
        if constants:
            cells.append(words.signed(sum(w.constant for w in writes)))
        for part in parts:
            own = [w.total for w in writes if w.part == part]
            cells.append(words.signed(sum(own)) if own else Text("·", style=words.DIM))
        return [label, *cells, words.signed(sum(w.total for w in writes)), last]

    for label, writes, boundary in rows:
        table.add_row(*row(label, writes, words.signed(a.carried[boundary][-2])))
    table.add_section()
    sums = row("sum", a.writes, "")
    table.add_row(*(cell.plain if isinstance(cell, Text) else cell for cell in sums))
    return table


def _shade(value: float, scale: ColourScale) -> Text:
    """A number that is the fainter the smaller it is."""
    share = abs(value) / scale.full if scale.full else 0.0
    style = words.DIM if share < 0.1 else ("bold " if share > 0.5 else "") + ("red" if value < 0 else "blue")
    return Cell(f"{value:+.2f}", style, value=value, scale=scale)
