"""`ggufjac extremes`: the longest columns and rows of each token's map, decoded."""

from __future__ import annotations

import argparse

from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common

ENTRY = COMMANDS["extremes"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "extremes",
        help="the longest columns and rows of each token's map",
        description="Which entries of a token's vector write most, which entries of the output read most of it, and "
        "what these columns and rows mean as tokens.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    return common.run_analysis(args, ENTRY, "columns and rows")
