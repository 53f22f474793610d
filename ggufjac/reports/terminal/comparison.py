"""The report of `ggufjac compare`: the sides, what they share, and what moved from one to the other."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.compare.changes import Change
from ggufjac.analyses.compare.comparison import Comparison
from ggufjac.analyses.compare.sides import ComparedSide
from ggufjac.readable import readable, visible
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.changes import RELATED, SAME, details
from ggufjac.reports.terminal.layout import ROOMY, WIDE

#: Changes that are shown in detail, and prompts that are written out at the top.
DETAILED, PROMPTS = 3, 8
#: Columns that one side takes in the table of all pairs, and what stands beside them.
CELL, BESIDE = 7, 8
#: Longest name of a model, or text of a prompt, in a table.
LONGEST = 28


def report(comparison: Comparison) -> RenderableType:
    """The report of a comparison."""
    return layout.Fitted(lambda width: _draw(comparison, width))


def _draw(c: Comparison, width: int) -> Iterable[RenderableType]:
    yield _head(c, width)
    yield from layout.titled("Sides", "each one is a linear map, taken as a whole", _sides(c, width))
    explained = f"overlap of the leading {c.top} singular vectors, and of the words they decode to"
    yield from layout.titled("What they share", explained, _shared(c, width))
    if 2 < len(c.sides) <= (width - BESIDE) // CELL:
        explained = "below the diagonal spans of left vectors, above it words that they write; 1 is the same"
        yield from layout.titled("All pairs", explained, _pairs(c))
    shown = c.changes[:DETAILED]
    for change in shown:
        yield from details(c, change, width)
    yield _foot(c, len(shown), width)


def _head(c: Comparison, width: int) -> RenderableType:
    facts: list[tuple[str, RenderableType]] = []
    for i, model in enumerate(c.models):
        line = layout.model_line(model)
        facts.append(("" if i else "models" if len(c.models) > 1 else "model", line))
    name = "prompts" if len(c.prompts) > 1 else "prompt"
    for i, prompt in enumerate(c.prompts[:PROMPTS]):
        facts.append(("" if i else name, Text(readable(prompt), style="italic")))
    if len(c.prompts) > PROMPTS:
        facts.append(("", Text(f"and {len(c.prompts) - PROMPTS} more", style=words.DIM)))
    facts += [("note", Text(visible(note), style=words.FAIR)) for note in c.notes]
    worst = max(c.sides, key=lambda side: side.reconstruction)
    facts += runs.run_facts(worst.llama, c.device)
    exactness = runs.exactness_line(worst.reconstruction, c.dtype, worst.llama, c.rules)
    facts.append(
        ("exactness", exactness.append(f", at worst (side {phrases.side(c.sides.index(worst))})", style=words.DIM))
    )
    return layout.frame("ggufjac compare", facts)


def _sides(c: Comparison, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("", style="bold")
    if len(c.models) > 1:
        table.add_column("model", overflow="fold")
    if len(c.prompts) > 1:
        table.add_column("prompt")
    table.add_column("predicts")
    followed = next((side.target.token for side in c.sides if side.target is not None), None)
    if followed is not None:
        table.add_column(Text.assemble("logit of\n", words.token(followed)), justify="right")
        table.add_column("rank", justify="right", style=words.DIM)
    table.add_column("stable\nrank", justify="right")
    table.add_column("σ₁  σ₂  σ₃" if roomy else "σ₁", justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column("writes (u₁)")
    for i, side in enumerate(c.sides):
        table.add_row(phrases.side(i), *_side(c, side, followed, width))
    return table


def _side(c: Comparison, side: ComparedSide, followed: Piece | None, width: int) -> list[RenderableType]:
    cells: list[RenderableType] = []
    if len(c.models) > 1:
        cells.append(Text(_short(readable(c.models[side.model].file.removesuffix(".gguf")))))
    if len(c.prompts) > 1:
        cells.append(Text(_short(readable(c.prompts[side.prompt]), last=True), style="italic"))
    cells.append(layout.predictions_line(side.predictions[: 3 if width >= ROOMY else 1], width))
    if followed is not None:
        t = side.target
        cells += ["·", "·"] if t is None else [words.signed(t.logit), str(t.rank)]
    cells.append(words.dimension(side.stable_rank, side.exact))
    cells.append("  ".join(words.sigma(t.sigma) for t in side.triplets[: 3 if width >= ROOMY else 1]))
    if width >= WIDE:
        cells.append(words.tokens(side.triplets[0].writes, 3))
    return cells


def _short(text: str, last: bool = False) -> str:
    """A text of at most LONGEST characters; `last`: its end is what tells it apart."""
    if len(text) <= LONGEST:
        return text
    return "…" + text[1 - LONGEST :] if last else text[: LONGEST - 1] + "…"


def _shared(c: Comparison, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("", no_wrap=True, style="bold")
    for name in ("left\nspan", "right\nspan", "words\nwritten", "words\nread"):
        table.add_column(name, justify="right")
    table.add_column("final\nstate", justify="right")
    table.add_column("KL", justify="right")
    table.add_column("first token")
    if roomy:
        table.add_column("probability of\nthe left one", justify="right")
    for change in c.changes:
        one, other = c.sides[change.one], c.sides[change.other]
        cells: list[RenderableType] = [
            f"{phrases.side(change.one)} → {phrases.side(change.other)}",
            *(_share(value) for value in (change.left, change.right, change.written, change.read, change.state)),
            Text("·", style=words.DIM) if math.isnan(change.kl) else words.small(change.kl),
            _first(one.predictions[0], other.predictions[0]),
        ]
        if roomy:
            cells.append(_surprise(change, one.predictions[0]))
        table.add_row(*cells)
    return layout.narrowed(table, width, ("words read", "words written", "right span", "final state"))


def _share(value: float) -> Text:
    return Text("·", style=words.DIM) if math.isnan(value) else Text(f"{value:.3f}")


def _first(one: Prediction, other: Prediction) -> Text:
    if one.token.text == other.token.text:
        return words.token(one.token).append(" stays", style=words.DIM)
    return Text.assemble(words.token(one.token), (" → ", words.DIM), words.token(other.token))


def _surprise(change: Change, first: Prediction) -> Text:
    """How the probability of the one side's first token changes."""
    after = next((s.after for s in change.shifts if s.before is not None and s.before.token == first.token), None)
    if after is None:
        return Text("·", style=words.DIM)
    moved = math.log(after.probability / first.probability) if after.probability > 0 else -math.inf
    said = f"{words.percent(first.probability)} → {words.percent(after.probability)} "
    return Text(said).append(f"({moved:+.2f} nats)", style=words.DIM)


def _pairs(c: Comparison) -> Table:
    table = layout.table()
    table.add_column("", style="bold")
    for i in range(len(c.sides)):
        table.add_column(phrases.side(i), justify="right")
    for i in range(len(c.sides)):
        cells = [
            Text("1", style=words.DIM) if i == j else _share((c.left if j < i else c.written)[i][j])
            for j in range(len(c.sides))
        ]
        table.add_row(phrases.side(i), *cells)
    return table


def _foot(c: Comparison, shown: int, width: int) -> RenderableType:
    chances = [change.chance_left for change in c.changes if not math.isnan(change.chance_left)]
    chance = f" (unrelated ones: {max(chances):.3f})" if chances else ""
    rest = len(c.changes) - shown
    sized = any(not math.isnan(change.left) for change in c.changes[:shown])
    kept = "; kept: share of u in the other's span" if sized and width >= ROOMY else ""
    return layout.notes(
        f"span: mean squared cosine of the principal angles{chance}; words: share that both have",
        "final state: cosine; KL: of the predictions, in nats; ·: sizes or vocabularies differ",
        f"concepts: they stay from |cosine| {SAME} on, move from {RELATED} on" + kept,
        *([f"{rest} more changes in detail: --json FILE or --save FILE"] if rest else []),
        f"{phrases.rules(c.rules)}; {words.duration(sum(c.seconds.values()))} of computing",
    )
