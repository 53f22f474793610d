"""The report of `ggufjac plan`: memory first, then time, step by step."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.lens.planning import columns_of
from ggufjac.analyses.plan import Plan
from ggufjac.readable import readable
from ggufjac.reports import words
from ggufjac.reports.terminal import layout, runs

#: What a plan is of, where its own name does not say it.
NAMES = {
    "each": "analyze --tokens each",
    "combined": "analyze --tokens combined",
    "full": "the full map",
    "lens-fit": "lens fit",
    "lens-read": "lens read",
}


def report(plan: Plan) -> RenderableType:
    """The plan as a box of facts and a table of steps."""
    return layout.Fitted(lambda _: (_head(plan), _steps(plan)))


def _head(plan: Plan) -> RenderableType:
    m = plan.model
    facts: list[tuple[str, RenderableType]] = [
        ("model", layout.name_of(m).append(f"  {readable(m.architecture)}, {words.byte_size(m.bytes)}")),
        ("analysis", f"{NAMES.get(plan.what, plan.what)}, {plan.n_tokens} tokens, {plan.dtype}"),
        *runs.run_facts(None, plan.device),
        ("memory", _memory(plan)),
        ("time", Text.assemble((f"about {words.duration(plan.seconds)}", "bold"), f"  {_rates(plan)}")),
        *layout.note_facts(plan.notes),
    ]
    if plan.disk:
        where = "in a temporary file" if plan.device is None else "leave the device for the host's memory or disk"
        facts.insert(
            -1 - len(plan.notes),
            ("disk", f"{words.byte_size(plan.disk)} {where}: the full map is larger than the budget"),
        )
    return layout.frame("ggufjac plan", facts)


def line(plan: Plan) -> Text:
    """The plan in one line."""
    return Text.assemble(
        (f"about {words.duration(plan.seconds)}", "bold"),
        f", {words.byte_size(plan.peak)} of memory, {words.byte_size(plan.read)} read, "
        f"{words.count(plan.flops)} operations",
        f", {words.count(columns)} columns" if (columns := columns_of(plan)) else "",
    )


def _memory(plan: Plan) -> Text:
    where, base = ("beside the mapped file", "the program") if plan.device is None else ("there", "weights that stay")
    out = Text.assemble(
        (words.byte_size(plan.peak), "bold"),
        f" at most {where}: {words.byte_size(plan.base)} {base}, "
        f"{words.byte_size(plan.coefficients)} coefficients, {words.byte_size(plan.working)} columns",
    )
    return out.append(f" (budget {words.byte_size(plan.memory)})", style=words.DIM)


def _rates(plan: Plan) -> str:
    reading = words.byte_size(int(plan.bytes_per_second))
    way = "from the file" if plan.device is None else "to the device"
    return f"at {plan.flops_per_second / 1e9:.0f} GFLOP/s and {reading}/s {way}, as measured just now"


def _steps(plan: Plan) -> Table:
    table = layout.table()
    table.add_column("step")
    for head in ("sweeps", "columns", "operations", "read", "time"):
        table.add_column(head, justify="right")
    for step in plan.steps:
        table.add_row(
            step.name,
            str(step.sweeps),
            str(step.columns),
            words.count(step.flops),
            words.byte_size(step.read),
            words.duration(step.seconds),
        )
    table.add_section()
    dim = Text("sum", style=words.DIM)
    table.add_row(dim, "", "", words.count(plan.flops), words.byte_size(plan.read), words.duration(plan.seconds))
    return table
