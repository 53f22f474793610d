"""`ggufjac show`: the report of a saved analysis, again."""

from __future__ import annotations

import argparse

from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError


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
    from ggufjac.analyses.table import read_result

    require_outputs(args)
    result, checked = read_result(args.file)
    try:
        publish(result, args)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if checked:  # the file is what was written, so that this is a fault of the program
            raise
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"{args.file}: the result in it is damaged, or of another version ({why})") from None
    return 0
