"""`ggufjac plan`: memory, reading and time of an analysis, before it runs."""

from __future__ import annotations

import argparse

from ggufjac import parse
from ggufjac.analyses.options import AnalysisOptions
from ggufjac.cli import common, options
from ggufjac.cli.outputs import add_outputs, publish, require_outputs

#: As in ggufjac.analyses.plan, which imports torch.
WHATS = (
    "analyze",
    "each",
    "combined",
    "full",
    "layers",
    "attribute",
    "answer",
    "ablate",
    "ordinary",
    "extremes",
    "compare",
    "steer",
)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "plan",
        help="what an analysis will cost",
        description="Memory, bytes read, operations and time of an analysis on this machine: from a rehearsal without "
        "numbers, and a trial on one layer. Nothing else is computed.",
    )
    common.add_model(command)
    command.add_argument(
        "--tokens", type=options.worded(parse.positive), default=8, metavar="T", help="length of the prompt (default 8)"
    )
    command.add_argument(
        "--analysis",
        choices=WHATS,
        default="analyze",
        metavar="NAME",
        help=f"which, of {', '.join(WHATS)} (default analyze; each, combined: analyze --tokens; full: the full map; "
        "compare: of two prompts)",
    )
    command.add_argument(
        "--top",
        type=options.worded(parse.positive),
        metavar="K",
        help="singular triplets (default: the analysis's own number)",
    )
    command.add_argument("--fast", action="store_true", help="with --fast, which analyze and attribute have")
    command.add_argument(
        "--answer",
        type=options.worded(parse.positive),
        default=64,
        metavar="N",
        help="of answer: its tokens, beside the prompt's (default 64)",
    )
    options.add(command, AnalysisOptions, only=("dtype", "memory", "device", "threads"))
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    require_outputs(args)
    how = AnalysisOptions(**options.given(args, AnalysisOptions))
    with common.open_model(args.model) as model:
        from ggufjac.analyses.plan import plan

        common.use_threads(how.threads)
        with common.watched("planning"):
            made = plan(
                model,
                args.tokens,
                args.analysis,
                top=args.top,
                fast=args.fast,
                answer=args.answer,
                memory=how.memory,
                dtype=how.torch_dtype,
                device=how.device,
            )
    publish(made, args)
    return 0
