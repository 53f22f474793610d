"""`ggufjac lens`: what every layer is about to say. A file a command of its own."""

from __future__ import annotations

import argparse

from ggufjac.cli.lens import compare, fit, merge, read, show, swap, vectors

#: The commands, in the order in which the help lists them.
MODULES = (read, fit, merge, show, compare, vectors, swap)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "lens",
        help="what every layer is about to say: lenses read, fitted, compared and used",
        description="A lens reads the stream that leaves a block as what the last one would make of it, on the "
        "average of many texts.",
    )
    commands = command.add_subparsers(metavar="COMMAND", required=True)
    for module in MODULES:
        module.add_parsers(commands)
    for each in commands.choices.values():
        each.set_defaults(parser=each)
