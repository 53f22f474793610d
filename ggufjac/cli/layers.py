"""`ggufjac layers`: how a prediction emerges, layer by layer."""

from __future__ import annotations

import argparse

from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common, options
from ggufjac.errors import UserError

ENTRY = COMMANDS["layers"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "layers",
        help="how a prediction emerges, layer by layer",
        description="For every layer: the concepts that the map from the tokens to it writes, its stable rank, the "
        "tokens that it draws on, and what its attention and MLP give to the predicted logit, which adds up.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    if {"layers", "every"} <= options.given(args, ENTRY.options_class).keys():
        raise UserError("--layers names the layers and --every counts them; give one of the two")
    return common.run_analysis(args, ENTRY, "reading the layers")
