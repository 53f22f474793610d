"""Results as text, pages and files."""

from __future__ import annotations

import argparse
import io
from typing import TYPE_CHECKING

from ggufjac.atomic import write_text

if TYPE_CHECKING:
    from ggufjac.analyses.result import Result

#: Columns of a report written as a picture, and as text where no terminal says how many it has.
PICTURE_WIDTH, TEXT_WIDTH = 140, 100


def publish(result: Result, args: argparse.Namespace) -> None:
    """The report on standard output, and every file that was asked for."""
    from rich.console import Console

    if args.json == "-":
        print(result.to_json())
    else:
        Console().print(result)
        if args.json is not None:
            write_text(args.json, result.to_json() + "\n")
    if args.save is not None:
        result.save(args.save)
    if args.svg is not None:
        write_text(args.svg, _svg(result))
    if args.html is not None:
        from ggufjac.reports.page import page

        write_text(args.html, page(result))
    if args.plot is not None:
        from ggufjac.plots import save

        save(result, args.plot, args.plot_format)


def plain(result: Result) -> str:
    """The report as text without colours."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=TEXT_WIDTH, no_color=True, force_terminal=False, force_jupyter=False)
    with console.capture() as captured:
        console.print(result)
    return captured.get()


def _svg(result: Result) -> str:
    """The report in a terminal's colours, as a picture."""
    from rich.console import Console

    recorder = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, force_jupyter=False)
    recorder.print(result)
    return recorder.export_svg(title=f"ggufjac {result.kind}")
