"""The report of `ggufjac verify --explain`: which roundings of llama.cpp moved a prediction, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.judge.explain import Explanation, RoundingStep
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.analysis import agreement_line
from ggufjac.reports.terminal.layout import ROOMY

#: How many single steps the report lists.
LISTED = 8


def report(explanation: Explanation) -> RenderableType:
    """The report of one prompt's explanation."""
    return layout.Fitted(lambda width: _draw(explanation, width))


def _draw(e: Explanation, width: int) -> Iterable[RenderableType]:
    yield _head(e)
    if e.steps:
        yield from layout.titled("Steps", f"the {min(LISTED, len(e.steps))} that moved it most", _steps(e, width))
        yield from layout.titled("Parts", "the same step of all layers together", _parts(e, width))
    yield from layout.titled("Layers", "all steps of a layer together", _layers(e, width))
    noise = "" if width < layout.USUAL else "; noise: of all logits, root mean square"
    yield layout.notes(
        "moves: by how many logits the number moves where llama.cpp's step takes the place of the exact one, with all "
        f"before it llama.cpp's and all behind it exact, so that they add up{noise}",
        "exact behind: the first token then; attention probabilities: what rounds queries, keys and probabilities",
        f"{sum(e.seconds.values()):.1f} s of computing",
    )


def _head(e: Explanation) -> RenderableType:
    facts: list[tuple[str, RenderableType]] = [
        ("model", layout.model_line(e.model)),
        *layout.prompt_facts(e.prompt),
        *runs.run_facts(e.llama, None),
        ("verdict", agreement_line(e.agreement, words.token(e.first))),
        ("follows", _followed(e)),
        ("moved", _moved(e)),
    ]
    if e.other is not None:
        facts.append(("turned", _turned(e)))
    return layout.frame("ggufjac verify --explain", facts)


def _followed(e: Explanation) -> Text:
    out = words.phrase(phrases.followed(e)).append(
        f": {e.exact:+.4f} in exact arithmetic, {e.theirs:+.4f} in llama.cpp, "
    )
    return out.append(f"{e.theirs - e.exact:+.4f}", style="bold").append(" by its rounding")


def _moved(e: Explanation) -> Text:
    """Whether one step did it, or many little ones at random."""
    largest = max(e.steps, key=lambda step: abs(step.moves), default=None)
    if largest is None:
        return Text("llama.cpp takes no step that rounds", style=words.DIM)
    chance = math.sqrt(sum(step.moves**2 for step in e.steps))
    out = Text(f"by {len(e.steps)} steps, the largest {largest.moves:+.4f} ({_where(largest)}); ")
    out.append(f"steps of these sizes with signs drawn at random would move it by {chance:.4f}")
    missing = abs(e.remainder) / max(abs(e.theirs - e.exact), abs(e.remainder), 1e-30)
    out.append(f"; not in any step: {words.small(abs(e.remainder))} logits ({words.percent(missing)})", style=words.DIM)
    return out


def _turned(e: Explanation) -> Text:
    turned = e.turned
    if turned is None:
        return Text("by what is in no step", style=words.DIM)
    out = Text.assemble(words.token(e.first), " stays the first token from ", (_where(turned), "bold"), " on")
    return out.append(f", a step that moves it by {turned.moves:+.4f}")


def _where(step: RoundingStep) -> str:
    kind = f" {step.kind}" if step.kind else ""
    return f"{step.part}{kind}, layer {step.layer}" if step.layer >= 0 else f"{step.part}{kind}"


def _steps(e: Explanation, width: int) -> Table:
    chosen = sorted(e.steps, key=lambda step: -abs(step.moves))[:LISTED]
    table = _table("layer", "step", "weights")
    table.add_column("exact behind")
    largest = max(abs(step.moves) for step in chosen)
    for step in chosen:
        table.add_row(
            _layer(step.layer),
            step.part,
            step.kind,
            _small(step.moves),
            words.bar(step.moves, largest),
            f"{step.noise:.4f}",
            words.token(step.first, ""),
        )
    return _fitting(table, width)


def _parts(e: Explanation, width: int) -> Table:
    found = dict.fromkeys(step.part for step in e.steps)
    table = _table("step", "weights")
    groups = {part: [step for step in e.steps if step.part == part] for part in found}
    largest = max(abs(_total(steps)) for steps in groups.values())
    for part, steps in groups.items():
        kinds = ", ".join(dict.fromkeys(step.kind for step in steps if step.kind))
        table.add_row(part, kinds, *_sums(steps, largest))
    table.add_section()
    table.add_row(Text("in no step", style=words.DIM), "", f"{e.remainder:+.1e}", "", "")
    table.add_row(Text("sum", style=words.DIM), "", _small(_total(e.steps) + e.remainder), "", "")
    return _fitting(table, width)


def _layers(e: Explanation, width: int) -> Table:
    """Per layer what it moves and the number then, with the step where our value is the furthest from llama.cpp's."""
    roomy = width >= ROOMY
    table = _table("layer")
    table.add_column("then", justify="right")
    table.add_column("exact behind")
    table.add_column("remainder" if roomy else "rest", justify="right", style=words.DIM)
    if roomy:
        table.add_column("before", style=words.DIM)
    groups = {layer: [step for step in e.steps if step.layer == layer] for layer in (*range(e.n_layer), -1)}
    largest = max((abs(_total(steps)) for steps in groups.values()), default=0.0)
    rests = {rest.layer: rest for rest in e.llama.remainders}
    now = e.exact
    for layer, steps in groups.items():
        if not steps:
            continue
        now += _total(steps)
        rest = rests.get(layer)
        table.add_row(
            _layer(layer),
            *_sums(steps, largest),
            f"{now:+.4f}",
            words.token(steps[-1].first, ""),
            "" if rest is None else words.small(rest.relative),
            *(["" if rest is None else rest.part] if roomy else []),
        )
    return _fitting(table, width)


def _fitting(table: Table, width: int) -> Table:
    """A narrow report does without the noise: the picture and what is predicted then say more."""
    if width >= layout.USUAL:
        return table
    return layout.narrowed(layout.narrowed(table, 0, ("noise",)), width, ("rest", "weights"))


def _table(*names: str) -> Table:
    table = layout.table()
    for name in names:
        table.add_column(name, justify="right" if name == "layer" else "left", no_wrap=name != "step")
    table.add_column("moves", justify="right")
    table.add_column("")
    table.add_column("noise", justify="right", style=words.DIM)
    return table


def _sums(steps: Sequence[RoundingStep], largest: float) -> list[RenderableType]:
    moved = _total(steps)
    return [_small(moved), words.bar(moved, largest), f"{math.sqrt(sum(step.noise**2 for step in steps)):.4f}"]


def _total(steps: Iterable[RoundingStep]) -> float:
    return sum(step.moves for step in steps)


def _layer(layer: int) -> str:
    return str(layer) if layer >= 0 else "head"


def _small(value: float) -> Text:
    return Text(f"{value:+.4f}", style="red" if value < 0 else "")
