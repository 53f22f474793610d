"""The report of `ggufjac analyze`: the prediction first, then how exact it is, then where it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.analyze import Analysis, TokenRow
from ggufjac.analyses.common.agreement import Agreement
from ggufjac.analyses.common.predictions import Triplet
from ggufjac.readable import visible
from ggufjac.reports import account, phrases, words
from ggufjac.reports.cells import Cell, ColourScale
from ggufjac.reports.constants import mostly
from ggufjac.reports.terminal import layout, phrase, runs, terms
from ggufjac.reports.terminal.layout import ROOMY, WIDE
from ggufjac.rules import rules_called

#: What a column of written tokens takes.
WRITES = 36
OF_LARGEST = ColourScale(1.0, ".0f", "σ beside the token's largest", size=False)


@dataclass(frozen=True)
class OwnTriplet:
    """A triplet of one token's map, and its number from 1 on."""

    number: int
    triplet: Triplet


def report(analysis: Analysis) -> RenderableType:
    """The report of one prompt's analysis."""
    return layout.Fitted(lambda width: _draw(analysis, width))


def _draw(a: Analysis, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    if a.phrase is not None:
        yield from phrase.sections([a.phrase], None, a.words, a.accounts[0].sinks, width)
    table = terms.of_words(a.accounts, a.words, [row.token for row in a.tokens], width, turns=a.turns)
    title = "Its first token" if a.phrase is not None else account.title(a.accounts[0].rules)
    yield from layout.titled(title, words.phrase(account.about(*a.accounts)).plain, table)
    exact = "exact " if rules_called(a.rules).reconstructs else ""
    explained = f"each one's own map J_t, its {exact}share of the output and its {exact}term of the logit"
    tokens = _tokens(a, width)
    yield from layout.titled("Input tokens", explained, tokens)
    if a.combined:
        explained = "leading singular triplets of the map of all tokens together"
        yield from layout.titled("Whole map", explained, _combined(a, width))
    yield _foot(a, "stable rank" in map(layout.named, tokens.columns))


def _head(a: Analysis, width: int) -> RenderableType:
    facts: list[tuple[str, RenderableType]] = [
        ("model", layout.model_line(a.model)),
        *layout.prompt_facts(a.prompt, a.turns, a.notes),
        *runs.run_facts(a.llama, a.device),
        ("predicts", layout.predictions_line(a.predictions, width)),
        ("explains", terms.explains(a.accounts[0])),
        *layout.meant_facts(a.target, a.predictions),
        ("llama.cpp", _judgement(a)),
        ("exactness", _exactness(a)),
    ]
    return layout.frame("ggufjac analyze", facts)


def _judgement(a: Analysis) -> Text:
    g = a.agreement
    if a.llama is not None and g is not None and g.verdict != "MATCH":
        return agreement_line(g, words.token(a.predictions[0].token))
    if g is None:
        return Text(f"not asked: {visible(a.agreement_note)}", style=words.DIM)
    return agreement_line(g, Text() if a.llama_prediction is None else words.token(a.llama_prediction))


def agreement_line(g: Agreement, theirs: Text) -> Text:
    """A verdict and what it rests on, in one sentence."""
    style = {"MATCH": words.GOOD, "NEAR-TIE": words.FAIR}.get(g.verdict, words.BAD)
    out = Text.assemble((g.verdict, style), "  ")
    if g.verdict == "MATCH":
        out.append("the same first token")
    else:
        out.append("llama.cpp says ").append_text(theirs)
        out.append(f"; exact arithmetic prefers its own first token by {g.margin:.2f} logits")
    out.append(f"; its 8-bit activations move logits by {g.noise:.2f}" if g.noise > 1e-3 else "")
    return out.append(f" ({g.overlap} of the first ten tokens are the same, KL {words.small(g.kl)})", style=words.DIM)


def _exactness(a: Analysis) -> Text:
    out = runs.exactness_line(a.reconstruction, a.dtype, a.llama, a.rules)
    if a.ordinary is not None:
        out.append(f"; the ordinary Jacobian misses {a.ordinary:.2f}", style=words.DIM)
    return out


def _tokens(a: Analysis, width: int) -> Table:
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM)
    table.add_column("token", no_wrap=True)
    table.add_column("output", justify="right")
    table.add_column(Text.assemble("logit of\n", words.token(a.target.token)), justify="right")
    own = any(row.triplets for row in a.tokens)
    roomy, wide = width >= ROOMY, width >= WIDE
    table.add_column("", no_wrap=True)
    if own:
        table.add_column("stable\nrank", justify="right")
        table.add_column("σ₁  σ₂  σ₃" if wide else "σ₁", justify="right", no_wrap=True)
        table.add_column("writes (u₁)")
        for i in range(2, 1 + _written(a, width)):
            table.add_column(f"writes ({words.numbered('u', i)})")
        if roomy:
            table.add_column("reads (v₁)")
    # the first token is always the largest by far; bars are scaled to the others, so that these can be told apart
    largest = max(abs(row.logit) for row in (a.tokens[1:] or a.tokens))
    for i, row in enumerate(a.tokens):
        cells: list[RenderableType] = [
            str(i),
            words.token(row.token),
            words.percent(row.output_share),
            words.signed(row.logit),
            words.bar(row.logit, largest),
        ]
        if own:
            cells += _own(row, a.norms_exact, width, _written(a, width))
        table.add_row(*cells)
    if a.constant_share or a.constant_logit:
        label = Text(mostly(a.constant_sources), style=words.DIM)
        table.add_row("", label, words.percent(a.constant_share), words.signed(a.constant_logit))
    share = sum(row.output_share for row in a.tokens) + a.constant_share
    logit = sum(row.logit for row in a.tokens) + a.constant_logit
    if not rules_called(a.rules).reconstructs:
        missed = (words.percent(1 - share), words.signed(a.target.logit - logit))
        table.add_row("", Text("not credited", style=words.DIM), *missed)
        share, logit = 1.0, a.target.logit
    table.add_section()
    table.add_row("", Text("sum", style=words.DIM), words.percent(share), words.signed(logit))
    return layout.narrowed(table, width, ("σ₁", "stable rank"))


def _written(a: Analysis, width: int) -> int:
    """How many of a token's left vectors have a column for what they write."""
    most = max(len(row.triplets) for row in a.tokens)
    return min(most, 2 + (width - WIDE) // WRITES) if width >= WIDE else min(most, 1)


def _own(row: TokenRow, exact: bool, width: int, written: int) -> list[RenderableType]:
    roomy, wide = width >= ROOMY, width >= WIDE
    shown = 3 if wide else 1
    first = row.triplets[0]
    cells: list[RenderableType] = [
        words.dimension(row.stable_rank, exact),
        "  ".join(words.sigma(t.sigma) for t in row.triplets[:shown]),
    ]
    for i in range(written):
        cells.append(_writes(row, i, 4 if wide and i == 0 else 3) if i < len(row.triplets) else "")
    if roomy:
        cells.append(words.tokens(first.reads, 3 if wide else 2))
    return cells


def _writes(row: TokenRow, i: int, n: int) -> Text:
    """What one left vector writes; a page shades it by its singular value beside the token's largest."""
    triplet, top = row.triplets[i], row.triplets[0].sigma
    cell = Cell(
        value=triplet.sigma,
        strength=triplet.sigma / top if top else 0.0,
        scale=OF_LARGEST,
        about=OwnTriplet(i + 1, triplet),
    )
    cell.append_text(words.tokens(triplet.writes, n))
    return cell


def _combined(a: Analysis, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM)
    table.add_column("σ", justify="right")
    table.add_column("logit", justify="right")
    if roomy:
        table.add_column("residual", justify="right", style=words.DIM)
    table.add_column("writes (u)")
    table.add_column("mostly from", no_wrap=True)
    table.add_column("reads there (v)")
    for i, t in enumerate(a.combined, 1):
        cells: list[RenderableType] = [str(i), words.sigma(t.sigma), words.signed(t.logit)]
        if t.sigma == 0:  # any pair of vectors is one of a map that has no further dimension
            table.add_row(*cells, *["—"] * (len(table.columns) - len(cells)), style=words.DIM)
            continue
        if roomy:
            cells.append(words.small(t.residual))
        cells += [
            words.tokens(t.writes, 3 + roomy),
            layout.origin(a.tokens[t.position].token, t.weight),
            words.tokens(t.reads, 2 + roomy),
        ]
        table.add_row(*cells)
    return layout.narrowed(table, width, ("reads there (v)", "σ"))


def _foot(a: Analysis, ranks: bool) -> RenderableType:
    rank = "; stable rank: ‖J‖²/σ₁²" + ("" if a.norms_exact else "; ≈: from random probes") if ranks else ""
    total = sum(a.seconds.values())
    combined = "" if math.isnan(a.combined_stable_rank) else f"; combined stable rank {a.combined_stable_rank:.3g}"
    return layout.notes(
        *account.notes(a.accounts, [row.token for row in a.tokens], a.llama is not None),
        "output: share of the final hidden state"
        + ("; a sink has what all tokens share" if a.accounts[0].sinks else "")
        + rank,
        f"{phrases.rules(a.rules)}{combined}; {total:.1f} s of computing",
    )
