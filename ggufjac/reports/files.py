"""Results as text, pages and files."""

from __future__ import annotations

import argparse
import io
from typing import TYPE_CHECKING

from ggufjac.atomic import write_text

if TYPE_CHECKING:
    from rich.console import Console

    from ggufjac.analyses.result import Result

#: Columns of a report written as a picture or page, and of one shown in a notebook.
EXPORT_WIDTH, NOTEBOOK_WIDTH = 140, 120
#: rich's page without the page: what a notebook's cell shows.
CELL = '<pre style="font-family: Menlo, Consolas, monospace; line-height: 1.2; white-space: pre">{code}</pre>'


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
    if args.svg is not None or args.html is not None:
        recorder = _recorded(result, EXPORT_WIDTH)
        if args.svg is not None:
            write_text(args.svg, recorder.export_svg(title=f"ggufjac {result.kind}", clear=False))
        if args.html is not None:
            write_text(args.html, recorder.export_html(clear=False))


def inline_html(result: Result) -> str:
    """The report as a piece of HTML, for a notebook's cell."""
    return _recorded(result, NOTEBOOK_WIDTH).export_html(inline_styles=True, code_format=CELL)


def _recorded(result: Result, width: int) -> Console:
    from rich.console import Console

    recorder = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, force_jupyter=False)
    recorder.print(result)
    return recorder
