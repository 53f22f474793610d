"""The report of `ggufjac lens swap`: both texts, what the swap cost, and what changed in the next token."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.lens.swap import LensSwap, SwapText
from ggufjac.readable import visible
from ggufjac.reports import words
from ggufjac.reports.phrases import lens_line
from ggufjac.reports.terminal import layout, runs

#: Predictions of each side that are shown.
SHOWN = 8


def report(swap: LensSwap) -> RenderableType:
    """The report of one prompt with two tokens exchanged."""
    return layout.Fitted(lambda width: _draw(swap, width))


def _draw(s: LensSwap, width: int) -> Iterable[RenderableType]:
    yield _head(s, width)
    yield from layout.titled("Texts", "what the prompt goes on with", _texts(s))
    yield from layout.titled("Next token", "behind the prompt, without the swap and with it", _predictions(s))
    yield from layout.titled("Blocks", "where coordinates were exchanged", _layers(s))
    yield layout.notes(
        "ln p: of the text, mean over its tokens, under the model that is left alone; own: under the one that wrote it",
        "price: ln p of the swapped text less that of the plain one, in nats a token; ■: the model came to an end",
        "cosine: of the two tokens' directions there; from, to: the mean coordinates that were exchanged",
        f"{sum(s.seconds.values()):.1f} s of computing",
    )


def _head(s: LensSwap, width: int) -> RenderableType:
    where = "at every position" if s.start == 0 else f"from position {s.start} on"
    how = "exchanged and held" if s.how == "clamp" else "exchanged"
    pair = Text.assemble(words.token(s.source.token), " and ", words.token(s.target.token), f" {how} {where}")
    cost = f"{s.price:+.2f} nats a token; KL of the next token {s.divergence:.3f} nats"
    return layout.frame(
        "ggufjac lens swap",
        [
            ("model", layout.model_line(s.model)),
            *runs.run_facts(None, s.device),
            ("lens", Text(lens_line(s.lens))),
            *layout.prompt_facts(s.prompt, s.turns, s.notes),
            ("predicts", layout.predictions_line(s.predictions, width)),
            ("swap", pair),
            ("price", Text(cost)),
        ],
    )


def _texts(s: LensSwap) -> Table:
    table = layout.table()
    table.add_column("")
    table.add_column("text", ratio=1)
    table.add_column("ln p", justify="right")
    table.add_column("own", justify="right", style=words.DIM)
    for name, text in (("plain", s.plain), ("swapped", s.swapped)):
        table.add_row(name, _text(text), f"{text.likelihood:.2f}", f"{text.own:.2f}")
    return table


def _text(text: SwapText) -> Text:
    shown = Text(visible(text.text))
    return shown.append(" ■", style=words.DIM) if text.ended else shown


def _predictions(s: LensSwap) -> Table:
    table = layout.table()
    for name in ("plain", "swapped"):
        table.add_column(name)
        table.add_column("", justify="right")
        table.add_column("rank", justify="right", style=words.DIM)
    rows = list(zip(s.predictions[:SHOWN], s.swapped_predictions[:SHOWN], strict=True))
    rows += [(s.source, s.swapped_source), (s.target, s.swapped_target)]
    for pair in rows:
        table.add_row(*(cell for prediction in pair for cell in _cells(prediction)))
    return table


def _cells(p: Prediction) -> tuple[Text, str, str]:
    return words.token(p.token), words.percent(p.probability), str(p.rank)


def _layers(s: LensSwap) -> Table:
    table = layout.table()
    for name in ("block", "cosine", "from", "to"):
        table.add_column(name, justify="right")
    for row in s.layers:
        table.add_row(str(row.layer), f"{row.cosine:.2f}", f"{row.source:.2f}", f"{row.target:.2f}")
    return table
