"""The report of `ggufjac ablate`: what the linear map predicts beside what the model does."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.ablate import Ablation, AblationOutcome, ComponentAblation, TokenAblation
from ggufjac.readable import readable
from ggufjac.reports import phrases, words
from ggufjac.reports.correlation import spearman
from ggufjac.reports.terminal import layout, phrase, runs
from ggufjac.reports.terminal.layout import ROOMY


def report(ablation: Ablation) -> RenderableType:
    """The report of one prompt's ablations."""
    return layout.Fitted(lambda width: _draw(ablation, width))


def _draw(a: Ablation, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    which = "each" if not _untried(a) else f"{len(a.tokens)} of {a.n_tokens}"
    explained = f"{which} taken away alone: the change of ln p, and what is predicted then"
    yield from layout.titled("Input tokens", explained, _tokens(a, width))
    if a.phrase is not None:
        pieces = [row.token for row in a.tokens if row.position in {change.position for change in a.phrase_changes}]
        explained = "the change of its ln p without each token, and what the account gives to it"
        table = phrase.of_changes(a.phrase_changes, pieces, a.phrase)
        yield from layout.titled(f"The whole of {readable(a.phrase.text)}", explained, table)
    explained = "leading singular triplets of the whole map taken away"
    yield from layout.titled("Components", explained, _components(a, width))
    yield layout.notes(
        *_not_tried(a),
        "linear: the map without the part's term; slope: what the derivative expects; zeroed: the model with x_t = 0",
        "left out: the model on the prompt without it; projected: the model with v taken out of what enters it",
        f"{a.account.rules}: minus the token's term of {_account(a)}, by the account that ranks tokens best",
        *_whose(a),
        _parting(a),
        *_ranked(a),
        f"{phrases.rules(a.rules)}; {sum(a.seconds.values()):.1f} s of computing",
    )


def _untried(a: Ablation) -> int:
    return a.n_tokens - len(a.tokens)


def _not_tried(a: Ablation) -> list[str]:
    """How many tokens were left alone, where some were."""
    return [f"{_untried(a)} of {a.n_tokens} tokens were not tried (--tokens N,M tries those)"] if _untried(a) else []


def _account(a: Ablation) -> str:
    return words.phrase(phrases.question(a.account.question)).plain


def _expected(a: Ablation, row: TokenAblation) -> float:
    """By how much the account's quantity changes without a token."""
    return -a.account.terms[row.position]


def _whose(a: Ablation) -> list[str]:
    """Which computation each column shows, where there are two."""
    if a.llama is None:
        return []
    return ["linear, left out: llama.cpp's run; slope, zeroed, projected: exact arithmetic against its own prediction"]


def _head(a: Ablation, width: int) -> RenderableType:
    t = a.target
    follows = Text.assemble("ln p of ", words.token(t.token), (f" {math.log(t.probability):.2f}", "bold"))
    follows.append(f"  rank {t.rank}, {words.percent(t.probability)}", style=words.DIM)
    return layout.frame(
        "ggufjac ablate",
        [
            ("model", layout.model_line(a.model)),
            *layout.prompt_facts(a.prompt, a.turns, a.notes),
            *runs.run_facts(a.llama, a.device),
            ("predicts", layout.predictions_line(a.predictions, width)),
            ("follows", follows),
            ("exactness", runs.exactness_line(a.reconstruction, a.dtype, a.llama, a.rules)),
        ],
    )


def _tokens(a: Ablation, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM)
    table.add_column("token", no_wrap=True)
    for name in (a.account.rules, "linear", "slope", "zeroed", "left out"):
        table.add_column(name, justify="right", style=words.DIM if name == "slope" else "")
    table.add_column("linear says")
    table.add_column("zeroed says")
    if roomy:
        table.add_column("left out says")
    for row in a.tokens:
        table.add_row(
            str(row.position),
            words.token(row.token),
            _number(_expected(a, row)),
            _change(row.linear),
            _number(row.derivative),
            _change(row.zeroed),
            _change(row.left_out),
            _says(row.linear),
            _says(row.zeroed),
            *([_says(row.left_out)] if roomy else []),
        )
    return layout.narrowed(table, width, ("linear says", "zeroed says", "slope"))


def _components(a: Ablation, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM)
    table.add_column("σ", justify="right")
    for name in ("linear", "slope", "projected"):
        table.add_column(name, justify="right", style=words.DIM if name == "slope" else "")
    table.add_column("linear says")
    table.add_column("projected says")
    if roomy:
        table.add_column("writes (u)")
    for row in a.components:
        alone = row.first == row.last
        table.add_row(
            _ranks(row),
            words.sigma(row.triplet.sigma) if alone else "",
            _change(row.linear),
            _number(row.derivative),
            _change(row.projected),
            _says(row.linear),
            _says(row.projected),
            *([words.tokens(row.triplet.writes, 3) if alone else Text("")] if roomy else []),
        )
    return table


def _ranks(row: ComponentAblation) -> str:
    return str(row.first) if row.first == row.last else f"{row.first}–{row.last}"


def _change(outcome: AblationOutcome | None) -> Text:
    return Text("·", style=words.DIM) if outcome is None else _number(outcome.change)


def _number(value: float) -> Text:
    return words.signed(value) if math.isfinite(value) else Text("·", style=words.DIM)


def _says(outcome: AblationOutcome | None) -> Text:
    if outcome is None or not math.isfinite(outcome.change):
        return Text("·", style=words.DIM)
    return words.token(outcome.first, "")


def _parting(a: Ablation) -> str:
    """How far the linear map's changes are from the model's own, in one line."""
    pairs = [(row.linear.change, row.zeroed.change) for row in a.tokens if math.isfinite(row.zeroed.change)]
    if not pairs:
        return "the model has no finite answer without a token's vector"
    apart = math.sqrt(sum((x - y) ** 2 for x, y in pairs) / len(pairs))
    size = math.sqrt(sum(y * y for _, y in pairs) / len(pairs))
    same = sum(x * y > 0 for x, y in pairs)
    told = f"linear and zeroed: the same sign for {same} of {len(pairs)} tokens, {apart:.2f} nats apart (rms) where "
    return told + f"zeroing moves {size:.2f}"


def _ranked(a: Ablation) -> list[str]:
    """How well each prediction ranks the tokens that were tried, by what the model does without them."""
    expected = {
        a.account.rules: [_expected(a, row) for row in a.tokens],
        "linear": [row.linear.change for row in a.tokens],
        "slope": [row.derivative for row in a.tokens],
    }
    ran = {
        "zeroed": [row.zeroed.change for row in a.tokens],
        "left out": [math.nan if row.left_out is None else row.left_out.change for row in a.tokens],
    }
    lines = []
    for name, changes in ran.items():
        found = {by: spearman(values, changes) for by, values in expected.items()}
        told = [f"{value:+.2f} for {by}" for by, value in found.items() if value is not None]
        if told:
            lines.append(f"Spearman's rank correlation with {name} is {', '.join(told)}")
    return lines
