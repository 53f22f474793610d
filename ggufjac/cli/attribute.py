"""`ggufjac attribute`: which tokens make a logit, through which components and layers."""

from __future__ import annotations

import argparse

from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common

ENTRY = COMMANDS["attribute"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "attribute",
        help="which tokens make a logit, through which components and layers",
        description="Exact terms of a logit, or of the difference of two: by input token, by singular component, and "
        "by token and layer. They add up.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    return common.run_analysis(args, ENTRY, "attributing")
