"""Where a result goes: standard output, and the files that were asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ggufjac.analyses.common.result import Result


def add_outputs(command: argparse.ArgumentParser) -> None:
    """Where else the report goes."""
    command.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': to standard output instead)")
    command.add_argument("--save", metavar="FILE", help="write arrays and result as safetensors; see `ggufjac show`")
    command.add_argument("--svg", metavar="FILE", help="write the report as a picture")
    command.add_argument("--html", metavar="FILE", help="write the report as a page for the browser, all in one file")
    command.add_argument("--plot", metavar="DIR", help="draw pictures into this folder (they need matplotlib)")
    command.add_argument("--plot-format", choices=("svg", "png"), default="svg", help="of the pictures (default svg)")


def require_outputs(args: argparse.Namespace) -> None:
    """Complain about a file, or a folder for pictures, that cannot be written before any work is done."""
    from ggufjac.atomic import require_writable

    require_writable(args.json, args.save, args.svg, args.html)
    if args.plot is not None:
        from ggufjac.reports.plots import require

        require(args.plot)


def publish(result: Result, args: argparse.Namespace) -> None:
    """The report on standard output, and every file that was asked for."""
    from rich.console import Console

    from ggufjac.atomic import write_text
    from ggufjac.reports.views import VIEWS

    if args.json == "-":
        print(result.to_json())
    else:
        Console().print(VIEWS.terminal(result))
        if args.json is not None:
            write_text(args.json, result.to_json() + "\n")
    if args.save is not None:
        result.save(args.save)
    if args.svg is not None:
        write_text(args.svg, VIEWS.svg(result))
    if args.html is not None:
        write_text(args.html, VIEWS.page(result))
    if args.plot is not None:
        VIEWS.plot(result, args.plot, args.plot_format)
