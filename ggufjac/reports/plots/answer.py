"""Pictures of an answer: what all of it drew from each word, and what each of its tokens did."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.answer.answering import Answer
from ggufjac.readable import readable
from ggufjac.reports import answer
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import drawable, label, phrase, shortened

#: Letters of a part's label.
LETTERS = 28
#: Tokens of the answer that have a column at most.
COLUMNS = 40


def pictures(a: Answer) -> Iterator[Picture]:
    yield _whole(a)
    yield _grid(a)


def _whole(a: Answer) -> Picture:
    found = answer.whole(a)
    shown = [found[i] for i in shapes.most([giver.term for giver in found])]
    title = "What made the answer"
    about = f"sums over the answer of {phrase(answer.explained(a))}{shapes.of_all(len(shown), len(found), f'{a.by}s')}"
    fig = figure(7.4, 1.3 + 0.3 * len(shown), title, about)
    axes = fig.add_subplot()
    shapes.bars(axes, [_named(giver) for giver in shown], [giver.term for giver in shown])
    axes.set_xlabel("logits" if a.above != "chance" else "nats")
    return Picture("whole", title, fig)


def _grid(a: Answer) -> Picture:
    """The parts that give most to the answer by its tokens."""
    found = answer.whole(a)
    shown = [found[i] for i in shapes.most([giver.term for giver in found])]
    said = a.said[:COLUMNS]
    given = [{giver.passage: giver.term for giver in answer.givers(a, each.account)} for each in said]
    values = np.array([[row.get(giver.passage, 0.0) for row in given] for giver in shown])
    title = "What each token of the answer was given"
    about = f"{phrase(answer.explained(a))}{shapes.of_all(len(said), len(a.said))}"
    fig = figure(3.2 + 0.62 * len(said), 1.9 + 0.24 * len(shown), title, about)
    axes = fig.add_subplot()
    columns = [f"{each.position} {label(each.token.token)}" for each in said]
    scale = float(np.abs(values).max())
    shapes.heat(
        fig,
        axes,
        values,
        [_named(giver) for giver in shown],
        columns,
        signed=True,
        form="+.1f",
        label="nats",
        scale=scale,
    )
    return Picture("tokens", title, fig)


def _named(giver: answer.Giver) -> str:
    return f"{giver.passage.positions[0]} {shortened(drawable(readable(giver.passage.label)), LETTERS)}"
