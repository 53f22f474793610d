"""`ggufjac analyze`: one prompt, explained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.analyses.options import AnalyzeOptions
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common

if TYPE_CHECKING:
    from ggufjac.analyses.plan import What
    from ggufjac.chat.prompt import Prompt
    from ggufjac.maps.model import Model

ENTRY = COMMANDS["analyze"]
#: Seconds from which on the expected time is told beforehand.
ANNOUNCED = 10.0


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "analyze",
        help="explain the prediction of one prompt",
        description="The exact linear map of one prompt: what each input token gives to the prediction, and which "
        "tokens the leading singular vectors read and write.",
    )
    common.add_analysis(command, ENTRY)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    return common.run_analysis(args, ENTRY, "analyzing", announce=_announce)


def _announce(model: Model, prompt: Prompt, chosen: AnalyzeOptions) -> None:
    """What is to be expected of an analysis that takes longer than one likes to wait unprepared."""
    from ggufjac.analyses.plan import plan, worth_planning

    n_tokens = len(model.ids_of(prompt))
    if chosen.device != "cpu" or not worth_planning(model, n_tokens, chosen.top):
        return
    what: What = "analyze" if chosen.tokens == "both" else chosen.tokens
    expected = plan(model, n_tokens, what, top=chosen.top, memory=chosen.memory, dtype=chosen.torch_dtype)
    if expected.seconds > ANNOUNCED:
        from rich.console import Console

        from ggufjac.reports.terminal.plan import line

        Console(stderr=True).print(line(expected))
