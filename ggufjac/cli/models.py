"""`ggufjac pull` and `ggufjac models`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from ggufjac.cli.standard import say, say_json
from ggufjac.readable import readable, visible
from ggufjac.registry import (
    CatalogueEntry,
    Places,
    Progress,
    Pulled,
    PullStep,
    entries,
    find_entry,
    local_models,
    pull,
    stored,
)
from ggufjac.registry.lenses import PulledLens, is_lens_name, pull_lens

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

#: Columns where there is no terminal: tables stay whole for other tools.
WIDE = 10_000


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `pull` and `models`; each sets `execute` to the function that takes its arguments."""
    command = subparsers.add_parser(
        "pull",
        help="download a model of models.toml, or a public lens",
        description="Download models by name, checked and whole; without a name, list the names. lens:NAME is a public "
        "lens of the repository neuronpedia/jacobian-lens, for example lens:qwen3-8b.",
    )
    command.add_argument(
        "names", metavar="NAME", nargs="*", help="of models.toml (`ggufjac pull` lists them), or lens:NAME"
    )
    command.add_argument("--force", action="store_true", help="download again, even where the file is there and right")
    command.set_defaults(execute=execute_pull)
    command = subparsers.add_parser(
        "models",
        help="list the models that can be had, and those on this disk",
        description="List the models of models.toml and those that are on this disk: pulled ones, those of the Hugging "
        "Face cache, Ollama, LM Studio, llama.cpp, Jan and GPT4All, and those below the folders that GGUFJAC_MODELS "
        "names. Each of the names can stand for MODEL in every command.",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(execute=execute_models)


def execute_pull(args: argparse.Namespace) -> int:
    """Pull the models named; returns the exit status (130 after Ctrl-C). Raises UserError."""
    from rich.text import Text

    from ggufjac.reports.aside import aside

    status = aside()
    places = Places.here()
    known = entries(places)
    if not args.names:
        say(_names_table(known, places), width=WIDE)
        return 0
    lenses = [name for name in args.names if is_lens_name(name)]
    wanted = [find_entry(name, known) for name in args.names if name not in lenses]
    for name in lenses:
        _report_lens(name, pull_lens(name, places, force=args.force))
    for entry in wanted:
        try:
            with _progress(entry, status) as progress:
                pulled = pull(entry, places, force=args.force, progress=progress)
        except KeyboardInterrupt:
            stopped = f": {entry.name} was not pulled; run the same command to go on"
            status.print(Text.assemble(("stopped", "yellow"), stopped))
            return 130
        _report(entry, pulled)
    return 0


def execute_models(args: argparse.Namespace) -> int:
    """Print what can be had and what is on this disk; returns the exit status. Raises UserError."""
    places = Places.here()
    if args.json:
        say_json(json.dumps(_as_json(places), indent=2, ensure_ascii=False))
        return 0
    from rich.table import Table
    from rich.text import Text

    local: RenderableType = _local_table(places)
    if isinstance(local, Table) and not local.row_count:
        local = Text("No models on this disk yet: `ggufjac pull smollm2-135m` takes 98 MB.", style="dim")
    say(_registry_table(entries(places), places), Text(), local, width=WIDE)
    return 0


def _as_json(places: Places) -> dict[str, list[dict[str, object]]]:
    registry: list[dict[str, object]] = []
    for entry in entries(places):
        path = stored(entry, places)
        registry.append(
            {
                "name": entry.name,
                "architecture": entry.architecture,
                "description": entry.description,
                "licence": entry.licence,
                "prompt": entry.prompt,
                "source": entry.source_name,
                "size": entry.size,
                "sha256": entry.sha256,
                "path": None if path is None else str(path),
            }
        )
    local: list[dict[str, object]] = [
        {
            "name": model.name,
            "path": str(model.path),
            "source": model.source,
            "size": model.size,
            "refusal": model.refusal,
        }
        for model in local_models(places)
    ]
    return {"registry": registry, "local": local}


def _size(size: int | None) -> str:
    from rich.filesize import decimal

    return "" if size is None else decimal(size)


def _table(title: str, *columns: str, right: str, wraps: str) -> Table:
    """An empty table; the column `right` is set to the right, and only `wraps` gives way on a narrow terminal."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in columns:
        justify: Literal["left", "right"] = "right" if heading == right else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != wraps, overflow="fold")
    return table


def _one_line(*parts: str | tuple[str, str], style: str = "") -> Text:
    """A cell that is cut, rather than wrapped, where it does not fit."""
    from rich.text import Text

    return Text.assemble(*parts, style=style, no_wrap=True, overflow="ellipsis")


def _registry_table(known: list[CatalogueEntry], places: Places) -> Table:
    from rich.text import Text

    columns = ("Name", "Architecture", "Size", "On disk", "Source")
    table = _table("Models by name (ggufjac pull NAME)", *columns, right="Size", wraps="Source")
    for entry in known:
        there = stored(entry, places) is not None
        table.add_row(
            Text(entry.name, style="bold cyan"),
            Text(entry.architecture),
            Text(_size(entry.size)),
            Text("yes" if there else "-", style="green" if there else "dim"),
            _one_line(entry.source_name, style="dim"),
        )
    return table


def _local_table(places: Places) -> Table:
    from rich.text import Text

    table = _table("On this disk", "Name", "Size", "From", right="Size", wraps="Name")
    for model in local_models(places):
        whose = Text(model.source, style="dim")
        if model.refusal is not None:
            whose.append(", not usable here", style="yellow")  # why, the name itself tells when it is used
        table.add_row(Text(readable(model.name), style="bold cyan"), Text(_size(model.size)), whose)
    return table


def _names_table(known: list[CatalogueEntry], places: Places) -> Table:
    from rich.text import Text

    table = _table("ggufjac pull NAME", "Name", "Size", "Licence", "Model", right="Size", wraps="Model")
    for entry in known:
        there = stored(entry, places) is not None
        table.add_row(
            Text(entry.name, style="bold cyan"),
            Text(_size(entry.size)),
            Text(entry.licence),
            _one_line(entry.description, (" (on disk)" if there else "", "green")),
        )
    return table


@contextmanager
def _progress(entry: CatalogueEntry, console: Console) -> Iterator[Progress]:
    """A progress bar: by bytes where the entry's size is known, else by wheel."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    name = TextColumn("{task.description}", markup=False)
    amounts = (DownloadColumn(), TransferSpeedColumn()) if entry.size is not None else (TaskProgressColumn(),)
    columns = (SpinnerColumn(), name, BarColumn(), *amounts, TimeRemainingColumn())
    bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(entry.name, total=entry.size)
    stage = ""

    def progress(step: PullStep) -> None:
        nonlocal stage
        # The bar appears with the first step: while huggingface_hub downloads, it shows a bar of its own.
        bar.start()
        if step.stage != stage and step.stage == "check":
            bar.reset(task)  # a second pass over the same bytes
        stage = step.stage
        doing = {"download": "downloading", "unpack": "unpacking", "check": "checking"}[stage]
        which = f" (wheel {step.part + 1} of {step.parts})" if step.parts > 1 else ""
        if entry.size is None:
            total, done = step.parts, step.part
        else:
            total, done = entry.size, min(step.done, entry.size)
        bar.update(task, description=f"{entry.name}: {doing}{which}", total=total, completed=done)

    try:
        yield progress
    finally:
        bar.stop()


def _report(entry: CatalogueEntry, pulled: Pulled) -> None:
    """What was pulled, where it is, and what to do with it."""
    from rich.text import Text

    what = "pulled" if pulled.fresh else "is on this disk already"
    checked = "sha256 checked" if pulled.checked else "no sha256 known to check"
    first = Text.assemble((entry.name, "bold cyan"), f" {what}: {_size(pulled.size)}, {checked}")
    again = Text(f"  try: ggufjac analyze {entry.name} {shlex.quote(entry.prompt)}", style="dim")
    say(first, Text(f"  {visible(str(pulled.path))}"), again, wrapped=False)


def _report_lens(name: str, pulled: PulledLens) -> None:
    """The same of a lens."""
    from rich.text import Text

    what = "pulled" if pulled.fresh else "is on this disk already"
    checked = ", sha256 checked" if pulled.checked else ", no sha256 known to check" if pulled.fresh else ""
    first = Text.assemble((name, "bold cyan"), f" {what}: {_size(pulled.size)}{checked}")
    say(first, Text(f"  {visible(str(pulled.path))}"), Text(f"  use: --lens {name}", style="dim"), wrapped=False)
