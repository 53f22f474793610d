"""`ggufjac ordinary`: the detached Jacobian beside the ordinary one."""

from __future__ import annotations

import argparse

from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common

ENTRY = COMMANDS["ordinary"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "ordinary",
        help="the detached Jacobian beside the ordinary one",
        description="Both Jacobians of one prompt: how much of the output each gives back, their spectra, and what "
        "they attribute to the tokens.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    return common.run_analysis(args, ENTRY, "both Jacobians")
