"""`ggufjac answer`: the model's answer, every token of it explained."""

from __future__ import annotations

import argparse

from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common

ENTRY = COMMANDS["answer"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "answer",
        help="a whole answer, every token of it explained by all before it",
        description="Let the model answer (or give the answer with --say) and tell for every token of the answer what "
        "each token before it gave: of the prompt, and of the answer itself. Close calls are told apart.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    return common.run_analysis(args, ENTRY, "answering")
