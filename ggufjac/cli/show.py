"""`ggufjac show`: the report of a saved analysis, again."""

from __future__ import annotations

import argparse

from ggufjac.cli.outputs import add_outputs, publish, require_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "show",
        help="print the report of a saved analysis",
        description="Print the report of a file that `ggufjac analyze --save` wrote, or convert it.",
    )
    command.add_argument("file", metavar="FILE", help="a .safetensors file of `ggufjac analyze --save`")
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.analyses.table import load

    require_outputs(args)
    publish(load(args.file), args)
    return 0
