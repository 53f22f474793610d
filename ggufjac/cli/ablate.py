"""`ggufjac ablate`: the prediction without a token, without a component, by the linear map and by the model."""

from __future__ import annotations

import argparse

from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common

ENTRY = COMMANDS["ablate"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "ablate",
        help="take tokens and components away and see what is predicted then",
        description="Drop each token's term, and the leading components, from the linear map, beside what the model "
        "itself says when it is run so.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    return common.run_analysis(args, ENTRY, "ablating")
