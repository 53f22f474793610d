"""The report of `ggufjac steer --positive --negative`: the texts, what each strength gains and costs, and where the two
sets differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.steer.leverage import candidate_layers
from ggufjac.analyses.steer.pairs import SteeredPairs
from ggufjac.analyses.steer.trials import PairsCandidate
from ggufjac.analyses.steer.writing import Continuation
from ggufjac.readable import readable
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY
from ggufjac.reports.terminal.steering import choice, control_table, prompt_line, text_line, took

#: Counted tokens that are named.
COUNTED = 12
#: What a direction is made of.
MADE = {
    "mean": "the difference of the two means",
    "pca": "the leading singular vector of the pairs' differences",
    "map": "the difference of what the exact maps write",
}


def report(steered: SteeredPairs) -> RenderableType:
    """The report of one prompt that two sets of texts steer."""
    return layout.Fitted(lambda width: _draw(steered, width))


def _draw(s: SteeredPairs, width: int) -> Iterable[RenderableType]:
    yield _head(s, width)
    explained = f"what the prompt goes on with, {choice(s.temperature, s.top_k, s.top_p, s.seed)}"
    yield from layout.titled("Texts", explained, _texts(s, width))
    yield from layout.titled("Layers", "how well each tells held-out texts, in standard deviations", _layers(s))
    if s.control is not None:
        yield from layout.titled("Control vector", "for llama.cpp", control_table(s.control))
    yield layout.notes(*_notes(s))


def _head(s: SteeredPairs, width: int) -> RenderableType:
    return layout.frame(
        "ggufjac steer",
        [
            ("model", layout.model_line(s.model)),
            *runs.run_facts(None, s.device),
            ("positive", _set(s.positive)),
            ("negative", _set(s.negative)),
            *([("counted", _counted(s))] if s.counts else []),
            *layout.prompt_facts(s.prompt, s.turns, s.notes),
            ("predicts", layout.predictions_line(s.predictions, width)),
            ("ablates" if s.ablated else "steers", _where(s)),
            *([] if s.best is None else [("best", _best(s))]),
        ],
    )


def _set(texts: tuple[str, ...]) -> Text:
    first = readable(texts[0])
    shown = first if len(first) <= 56 else f"{first[:55]}…"
    return Text.assemble(f"{len(texts)} texts: ", (shown, "italic"), ", …" if len(texts) > 1 else "")


def _counted(s: SteeredPairs) -> Text:
    out = words.tokens(s.counts, COUNTED)
    return out.append(f" and {len(s.counts) - COUNTED} more", style=words.DIM) if len(s.counts) > COUNTED else out


def _where(s: SteeredPairs) -> Text:
    out = Text.assemble((f"the stream leaving layer {s.layer}", "bold"), f" of {s.n_layer}: {MADE[s.direction]}; ")
    out.append(f"the sets lie {words.percent(s.share)} of the stream's length apart along it")
    if s.ablated:
        n = len(s.ablated)
        out.append(f"; taken out behind {'all' if n == s.n_layer else f'{n} of'} {s.n_layer} layers")
    return out


def _best(s: SteeredPairs) -> Text:
    text = Text(f"{s.best:.2f}", style="bold")
    return text.append(f" is the strength of the largest gain at a price of at most {s.price:g} nats a token", "")


def _texts(s: SteeredPairs, width: int) -> Table:
    table, counted = layout.table(), frozenset(piece.id for piece in s.counts)
    table.add_column("strength", justify="right")
    table.add_column("text", ratio=1)
    if s.counts:
        table.add_column("concept", justify="right")
    table.add_column("gain", justify="right")
    table.add_column("price", justify="right")
    if width >= ROOMY:
        table.add_column("ln p", justify="right", style=words.DIM)
    rows = [(Text("0", style=words.DIM), s.unsteered, Text(""), "")]
    for one in s.steered:
        name = Text("taken out" if s.ablated else f"{one.strength:g}")
        rows.append((name, one.text, words.signed(one.gain), f"{one.price:.2f}"))
    _add(table, rows, counted, width)
    for other in s.others:
        table.add_section()
        table.add_row("", prompt_line(other.prompt))
        texts = zip([name for name, *_ in rows], (other.unsteered, *other.steered), strict=True)
        _add(table, [(name, text, Text(""), "") for name, text in texts], counted, width)
    return table


def _add(
    table: Table, rows: Sequence[tuple[Text, Continuation, Text, str]], counted: frozenset[int], width: int
) -> None:
    for name, text, gain, price in rows:
        table.add_row(
            name,
            text_line(text, counted),
            *([f"{text.counted}/{len(text.tokens)}"] if counted else []),
            gain,
            price,
            *([f"{text.likelihood:.2f}"] if width >= ROOMY else []),
        )


def _layers(s: SteeredPairs) -> Table:
    table = layout.table()
    kinds = list(dict.fromkeys(one.kind for one in s.separations))
    table.add_column("layer", justify="right")
    for kind in kinds:
        table.add_column(kind, justify="right")
    if s.candidates:
        table.add_column("gain", justify="right")
        table.add_column("")
        table.add_column("at strength" if not s.ablated else "price", justify="right")
    by_place = {(one.layer, one.kind): one for one in s.separations}
    tried = {(one.layer, one.kind): one for one in s.candidates}
    largest = max((abs(one.gain) for one in s.candidates), default=1.0)
    for layer in sorted({*candidate_layers(s.n_layer), s.layer}):
        here = [one for one in tried.values() if one.layer == layer]
        best = next((one for one in here if layer == s.layer and one.kind == s.direction), here[0] if here else None)
        cells = []
        for kind in kinds:
            chosen = layer == s.layer and kind == s.direction
            cells.append(Text(f"{by_place[layer, kind].effect:.2f}", style="bold" if chosen else ""))
        table.add_row(
            Text(str(layer), style="bold" if layer == s.layer else ""),
            *cells,
            *(_tried(best, largest, bool(s.ablated)) if s.candidates else []),
        )
    return table


def _tried(one: PairsCandidate | None, largest: float, ablated: bool) -> list[RenderableType]:
    if one is None:
        return ["", "", ""]
    last = f"{one.price:.2f}" if ablated else f"{one.strength:.2f}"
    return [words.signed(one.gain), words.bar(one.gain, largest), Text(last).append(f" {one.kind}", style=words.DIM)]


def _notes(s: SteeredPairs) -> list[str]:
    whose = "the counted tokens' ln p in the text that is written" if s.measured == "tokens" else "the positive texts"
    state = "the mean of a text's states, without the first" if s.at == "mean" else "the state of a text's last token"
    lines = [
        f"gain: of {whose}, price: KL(without || with) on ordinary texts, both in nats a token",
        f"strength 1 adds as much as the two sets lie apart ({s.distance:.3g}); {state}",
        "mean, pca, map: distance of the sets along each direction over their spread, each text along the others'",
    ]
    if s.candidates:
        lines.append("a layer's gain is that on held-out texts, at the best strength that the price allows")
    if s.counts:
        found = (
            "the tokens that were given" if s.counts_given else "what several positive texts say and no negative one"
        )
        lines.append(f"concept: how many of the tokens are counted ones (marked): {found}")
    step = "one token, keys and values being kept" if s.cached else "the whole text: its layers keep more than keys"
    lines.append(f"a step costs {step}; {phrases.rules(s.rules)}; {took(s.seconds)}")
    return lines
