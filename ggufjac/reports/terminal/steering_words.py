"""The report of `ggufjac steer --say` and of a concept's words: the texts, what strengths gain and cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.steer.words import SteeredWords
from ggufjac.analyses.steer.writing import Continuation
from ggufjac.readable import readable
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY
from ggufjac.reports.terminal.steering import choice, control_table, prompt_line, text_line, took

#: Words that are named.
NAMED = 12


def report(steered: SteeredWords) -> RenderableType:
    """The report of prompts that words steer."""
    return layout.Fitted(lambda width: _draw(steered, width))


def _draw(s: SteeredWords, width: int) -> Iterable[RenderableType]:
    yield _head(s, width)
    explained = f"what the prompt goes on with, {choice(s.temperature, s.top_k, s.top_p, s.seed)}"
    yield from layout.titled("Texts", explained, _texts(s, width))
    if s.control is not None:
        yield from layout.titled("Control vector", "for llama.cpp", control_table(s.control))
    yield layout.notes(*_notes(s))


def _head(s: SteeredWords, width: int) -> RenderableType:
    return layout.frame(
        "ggufjac steer",
        [
            ("model", layout.model_line(s.model)),
            *runs.run_facts(None, s.device),
            *([("concept", Text(readable(s.concept), style="italic"))] if s.concept else []),
            ("words", words.tokens(s.words, NAMED)),
            *([("counted", words.tokens(s.counts, NAMED))] if s.counts_given else []),
            *layout.prompt_facts(s.prompt, s.turns, s.notes),
            ("predicts", layout.predictions_line(s.predictions, width)),
            ("steers", _where(s)),
        ],
    )


def _where(s: SteeredWords) -> Text:
    out = Text.assemble(
        (f"the stream leaving layer {s.layer}", "bold"), f" of {s.n_layer}, along what raises the words"
    )
    if s.best is not None:
        out.append("; ").append(f"{s.best:.2f}", style="bold")
        out.append(f" is the strength at which ordinary text costs {s.price:g} nats a token")
    return out


def _texts(s: SteeredWords, width: int) -> Table:
    table = layout.table()
    table.add_column("strength", justify="right")
    table.add_column("text", ratio=1)
    table.add_column("concept", justify="right")
    table.add_column("gain", justify="right")
    table.add_column("price", justify="right")
    if width >= ROOMY:
        table.add_column("ln p", justify="right", style=words.DIM)
    names = [Text("0", style=words.DIM), *(_strength(s, one.strength) for one in s.steered)]
    told: list[tuple[RenderableType, str]] = [
        ("", ""),
        *((words.signed(one.gain), f"{one.price:.2f}") for one in s.steered),
    ]
    counted = frozenset(piece.id for piece in s.counts)
    _add(table, names, (s.unsteered, *(one.text for one in s.steered)), told, counted, width)
    for other in s.others:
        table.add_section()
        table.add_row("", prompt_line(other.prompt))
        _add(table, names, (other.unsteered, *other.steered), [("", "")] * len(names), counted, width)
    return table


def _add(
    table: Table,
    names: Sequence[Text],
    texts: Sequence[Continuation],
    told: Sequence[tuple[RenderableType, str]],
    counted: frozenset[int],
    width: int,
) -> None:
    for name, text, (gain, price) in zip(names, texts, told, strict=True):
        likelihood = [f"{text.likelihood:.2f}"] if width >= ROOMY else []
        hits = f"{text.counted}/{len(text.tokens)}"
        table.add_row(name, text_line(text, counted), hits, gain, price, *likelihood)


def _strength(s: SteeredWords, strength: float) -> Text:
    return Text(
        f"{strength:.2f}" if s.best is not None else f"{strength:g}", style="bold" if strength == s.best else ""
    )


def _notes(s: SteeredWords) -> list[str]:
    whose = "the tokens that were given" if s.counts_given else "the words"
    step = "one token, keys and values being kept" if s.cached else "the whole text: its layers keep more than keys"
    lines = [
        "words: those that are pushed to; their rows of the head, pulled back to the layer by an everyday text's maps",
        "gain: of the counted tokens' ln p in the text that is written, price: KL(without || with) on ordinary texts, "
        "both in nats a token",
        f"strength 1 adds half of the stream's usual length ({s.length:.3g}) at every position",
        f"concept: how many of the tokens are counted ones (marked): {whose}",
    ]
    return [*lines, f"a step costs {step}; {phrases.rules(s.rules)}; {took(s.seconds)}"]
