"""The report of `ggufjac ordinary`: both Jacobians side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.ordinary import JacobianSide, Ordinary
from ggufjac.reports import phrases, words
from ggufjac.reports.phrases import INSIDE, RECONSTRUCTIONS
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY
from ggufjac.reports.terminal.scatter import scatter

PLOT_HEIGHT = 10


def report(result: Ordinary) -> RenderableType:
    """The report of both Jacobians of one prompt."""
    return layout.Fitted(lambda width: _draw(result, width))


def _draw(r: Ordinary, width: int) -> Iterable[RenderableType]:
    yield _head(r, width)
    yield from layout.titled("Both maps", "the same vectors, the same final state", _both(r))
    if r.arrays.keys() >= RECONSTRUCTIONS:
        yield from _plots(r, width)
    explained = "what each makes of the token: terms of the logit, size of its map"
    yield from layout.titled("Input tokens", explained, _tokens(r))
    yield from layout.titled("Spectra", "leading singular triplets of the map of all tokens", _spectra(r, width))
    chance = "" if r.detached.exact and r.ordinary.exact else "; ≈: from random probes"
    yield layout.notes(
        "detached: norms, attention and gates held fixed; ordinary: the derivative, nothing held fixed" + chance,
        f"overlap of the leading left vectors {words.percent(r.left_overlap)}, of the right ones "
        f"{words.percent(r.right_overlap)}; {phrases.rules(r.rules)}; {sum(r.seconds.values()):.1f} s of computing",
    )


def _head(r: Ordinary, width: int) -> RenderableType:
    verdict = Text.assemble("the detached map misses ", (words.small(r.detached.error), words.GOOD))
    verdict.append(" of the final state, the ordinary Jacobian ").append(f"{r.ordinary.error:.2f}", style=words.BAD)
    return layout.frame(
        "ggufjac ordinary",
        [
            ("model", layout.model_line(r.model)),
            *layout.prompt_facts(r.prompt, r.turns, r.notes),
            *runs.run_facts(None, r.device),
            ("predicts", layout.predictions_line(r.predictions, width)),
            ("exactness", verdict),
        ],
    )


def _both(r: Ordinary) -> Table:
    table = layout.table()
    table.add_column("")
    table.add_column("detached", justify="right")
    table.add_column("ordinary", justify="right")

    def row(name: str, value: Callable[[JacobianSide], str]) -> None:
        table.add_row(Text(name, style=words.DIM), value(r.detached), value(r.ordinary))

    row("‖J x − y‖ / ‖y‖", lambda side: words.small(side.error))
    row("cosine of J x and y", lambda side: f"{side.cosine:.4f}")
    row("‖J x‖ / ‖y‖", lambda side: f"{side.length:.4f}")
    row(f"terms of the logit of {r.target.token.shown}, added up", lambda side: f"{side.logit:+.2f}")
    row("σ₁", lambda side: words.sigma(side.triplets[0].sigma))
    row("stable rank", lambda side: words.dimension(side.stable_rank, side.exact))
    table.add_section()
    table.add_row(Text("the model's logit", style=words.DIM), f"{r.target.logit:+.2f}", f"{r.target.logit:+.2f}")
    return table


def _plots(r: Ordinary, width: int) -> Iterable[RenderableType]:
    """J x against y, entry by entry, for both maps."""
    y = r.arrays["output"].double()
    limit = float(y.abs().quantile(INSIDE))
    cells = max(8, min(40, (width - 6) // 2))
    grid = Table.grid(padding=(0, 2))
    plots = []
    for name in ("detached", "ordinary"):
        lines = scatter(y.tolist(), r.arrays[f"{name}.output"].double().tolist(), limit, cells, PLOT_HEIGHT)
        plots.append(Group(Text(name, style="bold"), *(Text(line, style="blue", no_wrap=True) for line in lines)))
    grid.add_row(*plots)
    explained = f"J x upwards, y to the right, an entry of the state each, from −{limit:.3g} to {limit:.3g}"
    yield from layout.titled("Reconstruction", explained, grid)


def _tokens(r: Ordinary) -> Table:
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM)
    table.add_column("token", no_wrap=True)
    for name in ("detached\nterm", "ordinary\nterm", "detached\n‖J_t‖", "ordinary\n‖J_t‖"):
        table.add_column(name, justify="right")
    for t, token in enumerate(r.tokens):
        table.add_row(
            str(t),
            words.token(token),
            *(words.signed(side.terms[t]) for side in (r.detached, r.ordinary)),
            *(("" if side.exact else "≈") + words.sigma(side.norms[t]) for side in (r.detached, r.ordinary)),
        )
    if r.constant:
        table.add_row("", Text("constants", style=words.DIM), words.signed(r.constant), "", "", "")
    table.add_section()
    sums = (words.signed(sum(r.detached.terms) + r.constant), words.signed(sum(r.ordinary.terms)))
    table.add_row("", Text("sum", style=words.DIM), *sums, "", "")
    return table


def _spectra(r: Ordinary, width: int) -> Table:
    shown = 4 if width >= ROOMY else 2
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM)
    for name in ("detached", "ordinary"):
        table.add_column(f"σ\n{name}", justify="right")
        table.add_column("\nwrites (u)")
    for i, (a, b) in enumerate(zip(r.detached.triplets, r.ordinary.triplets, strict=True), 1):
        cells: list[RenderableType] = []
        for triplet in (a, b):
            cells += [words.sigma(triplet.sigma), words.tokens(triplet.writes, shown)]
        table.add_row(str(i), *cells)
    return table
