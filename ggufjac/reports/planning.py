"""The report of `ggufjac plan`: memory first, then time, step by step."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.planning import WHATS, Plan
from ggufjac.reports import words

NAMES = dict(
    zip(WHATS, ("analyze", "triplets of each token's map", "triplets of all together", "the full map"), strict=True)
)


def report(plan: Plan) -> RenderableType:
    """The plan as a panel and a table of steps."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style=words.DIM, no_wrap=True)
    facts.add_column()
    m = plan.model
    facts.add_row("model", Text.assemble((m.name, "bold"), f"  {m.architecture}, {words.byte_size(m.bytes)}"))
    facts.add_row("analysis", f"{NAMES[plan.what]}, {plan.n_tokens} tokens, {plan.dtype}")
    facts.add_row("memory", _memory(plan))
    if plan.disk:
        facts.add_row(
            "disk", f"{words.byte_size(plan.disk)} in a temporary file: the full map is larger than the budget"
        )
    facts.add_row("time", Text.assemble((f"about {words.duration(plan.seconds)}", "bold"), f"  {_rates(plan)}"))
    title = Text("ggufjac plan", style="bold")
    return Group(Panel(facts, title=title, title_align="left", box=box.ROUNDED), _steps(plan))


def line(plan: Plan) -> Text:
    """The plan in one line."""
    return Text.assemble(
        (f"about {words.duration(plan.seconds)}", "bold"),
        f", {words.byte_size(plan.peak)} of memory, {words.byte_size(plan.read)} read, "
        f"{words.count(plan.flops)} operations",
    )


def _memory(plan: Plan) -> Text:
    out = Text.assemble(
        (words.byte_size(plan.peak), "bold"),
        f" at most beside the mapped file: {words.byte_size(plan.base)} the program, "
        f"{words.byte_size(plan.coefficients)} coefficients, {words.byte_size(plan.working)} columns",
    )
    return out.append(f" (budget {words.byte_size(plan.memory)})", style=words.DIM)


def _rates(plan: Plan) -> str:
    reading = words.byte_size(int(plan.bytes_per_second))
    return f"at {plan.flops_per_second / 1e9:.0f} GFLOP/s and {reading}/s from the file, as measured just now"


def _steps(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
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
