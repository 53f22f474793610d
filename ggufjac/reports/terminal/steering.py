"""The report of `ggufjac steer`: the texts beside each other, and what the steering cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.steer.control import Exported
from ggufjac.analyses.steer.leverage import POSITIONS, PRICE, Candidate
from ggufjac.analyses.steer.steering import Steered
from ggufjac.analyses.steer.writing import Continuation
from ggufjac.readable import escaped, readable, visible
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY

#: What the vectors of a file are.
KINDS = {
    "left": "leading left vectors",
    "written": "what the concept's tokens write",
    "mean": "differences of the means",
    "pca": "leading singular vectors of the pairs' differences",
    "map": "differences of what the exact maps write",
    "words": "what raises the words",
}
#: Tokens of the concept that are named, and of the direction.
COUNTED, WRITTEN = 16, 5


def report(steered: Steered) -> RenderableType:
    """The report of one steered prompt."""
    return layout.Fitted(lambda width: _draw(steered, width))


def _draw(s: Steered, width: int) -> Iterable[RenderableType]:
    yield _head(s, width)
    explained = f"what the prompt goes on with, {choice(s.temperature, s.top_k, s.top_p, s.seed)}"
    yield from layout.titled("Texts", explained, _texts(s, width))
    if s.candidates:
        explained = f"ln of the probability of the concept's tokens, at a price of {PRICE} nats a token"
        yield from layout.titled("Layers", explained, _candidates(s))
    if s.control is not None:
        yield from layout.titled("Control vector", "for llama.cpp", control_table(s.control))
    yield layout.notes(*_notes(s, width))


def _head(s: Steered, width: int) -> RenderableType:
    count = words.tokens(s.counts, COUNTED)
    if len(s.counts) > COUNTED:
        count.append(f" and {len(s.counts) - COUNTED} more", style=words.DIM)
    where = Text.assemble((f"the stream leaving layer {s.layer}", "bold"), f" of {s.n_layer}, where it writes ")
    where.append_text(words.tokens(s.writes, WRITTEN))
    if s.along == "end":
        where.append("; one direction, what the concept's own tokens write at its end")
    return layout.frame(
        "ggufjac steer",
        [
            ("model", layout.model_line(s.model)),
            *runs.run_facts(None, s.device),
            ("concept", Text(readable(s.concept), style="italic")),
            ("predicts", layout.predictions_line(s.predictions, width)),
            ("counted", count),
            *layout.prompt_facts(s.prompt, s.turns, s.notes),
            ("steers", where),
            ("exactness", runs.exactness_line(s.exactness, s.dtype, None, s.rules)),
        ],
    )


def choice(temperature: float, top_k: int, top_p: float, seed: int) -> str:
    """How tokens are chosen."""
    if temperature == 0:
        return "the likeliest token each time"
    likeliest = f", top-k {top_k}" if top_k else ""
    limit = "" if top_p == 1 else f", top-p {top_p:g}"
    return f"drawn at temperature {temperature:g}{likeliest}{limit}, seed {seed}"


def _texts(s: Steered, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("strength", justify="right")
    table.add_column("text", ratio=1)
    table.add_column("concept", justify="right")
    if roomy:
        table.add_column("mass", justify="right")
    table.add_column("ln p", justify="right")
    if roomy:
        table.add_column("own", justify="right", style=words.DIM)
    rows: list[tuple[Text, Continuation | str]] = [(_strength(text), text) for text in (s.unsteered, *s.steered)]
    if s.controlled is not None:
        rows.append((Text("vector × 1"), s.controlled))
    for other in s.others:
        rows.append((Text(), other.prompt))
        rows += [(_strength(text), text) for text in (other.unsteered, *other.steered)]
    counted = frozenset(piece.id for piece in s.counts)
    for name, text in rows:
        if not isinstance(text, Continuation):
            table.add_section()
            table.add_row(name, prompt_line(text))
            continue
        table.add_row(
            name,
            text_line(text, counted),
            f"{text.counted}/{len(text.tokens)}",
            *([words.percent(text.mass)] if roomy else []),
            f"{text.likelihood:.2f}",
            *([f"{text.own:.2f}"] if roomy else []),
        )
    return table


def prompt_line(prompt: str) -> Text:
    """The prompt that the rows below go on with."""
    return Text(readable(prompt), style="italic")


def _strength(text: Continuation) -> Text:
    return Text(f"{text.strength:g}", style="" if text.strength else words.DIM)


def text_line(text: Continuation, counted: frozenset[int]) -> Text:
    """The text on one line, with the concept's tokens marked."""
    out = Text()
    if "".join(piece.text for piece in text.tokens) == text.text:
        for piece in text.tokens:
            out.append(_plain(piece.text), style=words.TOKEN if piece.id in counted else "")
    else:  # a character that takes several tokens
        out.append(_plain(text.text))
    return out.append(" ■", style=words.DIM) if text.ended else out


def _plain(text: str) -> str:
    """Line breaks and what cannot be seen made visible; spaces stay what they are."""
    return "".join(c if c == " " or c.isprintable() else escaped(c) for c in text)


def _candidates(s: Steered) -> Table:
    table = layout.table()
    table.add_column("layer", justify="right")
    table.add_column("gain", justify="right")
    table.add_column("")
    table.add_column("at strength", justify="right")
    largest = max(abs(candidate.gain) for candidate in s.candidates)
    for candidate in s.candidates:
        best = candidate.layer == s.layer
        table.add_row(
            Text(str(candidate.layer), style="bold" if best else ""),
            words.signed(candidate.gain),
            words.bar(candidate.gain, largest),
            _reached(candidate),
        )
    return table


def _reached(candidate: Candidate) -> Text:
    out = Text(f"{candidate.strength:.2f}")
    return out if candidate.price >= PRICE else out.append(f" ({candidate.price:.2f} nats)", style=words.DIM)


def control_table(control: Exported) -> Table:
    """What a file for llama.cpp holds, and how it is used."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=words.DIM, no_wrap=True)
    grid.add_column()
    concept = control.kind in ("left", "written")
    sizes = f"{min(control.lengths):.3g} to {max(control.lengths):.3g} long"
    like = "what the concept's tokens write" if concept else "the difference of the means"
    agree = f", cosine {min(control.cosines):.2f} to {max(control.cosines):.2f} with {like}" if control.cosines else ""
    grid.add_row("file", Text(visible(control.file)))
    grid.add_row("layers", f"{_ranges(control.layers)}: {KINDS[control.kind]}, {sizes}{agree}")
    if control.left_out:
        grid.add_row("left out", f"{_ranges(control.left_out)}: llama.cpp does not steer there")
    grid.add_row("use", Text(f"llama-cli --control-vector-scaled {visible(control.file)} 1.0 ..."))
    return grid


def _ranges(layers: tuple[int, ...]) -> str:
    """1-3, 7, 9-12"""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][1] == layer - 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _notes(s: Steered, width: int) -> list[str]:
    lines = [
        "concept: how many of the tokens are the concept's (marked); ■: the model came to an end of its own",
        "ln p: of the text, mean over its tokens, under the model without steering",
    ]
    if s.counts_given:
        lines.append("counted: the tokens that were given")
    else:
        lines.append("counted: what the concept's leading left vectors write and it predicts, if rarely said otherwise")
    if width >= ROOMY:
        lines.append("mass: their probability, mean over the steps; own: ln p under the model that wrote it")
    if s.candidates:
        lines.append(
            f"layers were tried on the first {min(POSITIONS, len(s.unsteered.tokens))} tokens of the unsteered text; "
            f"price: KL(unsteered || steered)"
        )
    step = "one token, keys and values being kept" if s.cached else "the whole text: its layers keep more than keys"
    lines.append(f"a step costs {step}; {phrases.rules(s.rules)}; {took(s.seconds)}")
    return lines


def took(seconds: Mapping[str, float]) -> str:
    """How long it took."""
    return f"{sum(seconds.values()):.1f} s of computing"
