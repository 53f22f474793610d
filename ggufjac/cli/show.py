"""`ggufjac show`: the report of a saved analysis, again."""

from __future__ import annotations

import argparse

from ggufjac.cli import common
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "show",
        help="print the report of a saved analysis",
        description="Print the report of a file that `ggufjac analyze --save` wrote, or convert it.",
    )
    command.add_argument("file", metavar="FILE", help="a .safetensors file of `ggufjac analyze --save`")
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ggufjac.analyses.result import load
    from ggufjac.reports.files import publish

    common.require_outputs(args)
    publish(load(args.file), args)
    return 0
