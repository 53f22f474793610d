"""`ggufjac lens ...`: lenses fitted, read, compared and used; a file for each of its commands."""

from __future__ import annotations

import argparse

from ggufjac.cli.lens import compare, fit, merge, read, swap, vectors


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "lens",
        help="what every layer is about to say: lenses fitted, read, compared and used",
        description="A lens brings what leaves a layer to where the last one leaves off, by the mean Jacobian of texts "
        "or by this prompt's own, and reads it there.",
    )
    commands = command.add_subparsers(metavar="COMMAND", required=True)
    for module in (read, fit, merge, compare, vectors, swap):
        module.add_parsers(commands)
    for name, inner in commands.choices.items():
        inner.set_defaults(parser=inner, lens_command=name)
