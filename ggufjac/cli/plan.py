"""`ggufjac plan`: memory, reading and time of an analysis, before it runs."""

from __future__ import annotations

import argparse
from typing import get_args

from ggufjac import parse
from ggufjac.analyses.lens.options import LENGTH
from ggufjac.analyses.options import AnalysisOptions, Planned
from ggufjac.cli import common, options
from ggufjac.cli.outputs import add_outputs, publish, require_outputs

#: The length of a prompt where none is named.
TOKENS = 8
WHATS: tuple[str, ...] = get_args(Planned)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "plan",
        help="what an analysis will cost",
        description="Memory, bytes read, operations and time of an analysis on this machine: from a rehearsal without "
        "numbers, and a trial on one layer. Nothing else is computed.",
    )
    common.add_model(command)
    command.add_argument(
        "--tokens",
        type=options.worded(parse.positive),
        metavar="T",
        help="length of the prompt (default 8), or of the texts of lens-fit (default 128)",
    )
    command.add_argument(
        "--analysis",
        choices=WHATS,
        default="analyze",
        metavar="NAME",
        help=f"which, of {', '.join(WHATS)} (default analyze; each, combined: analyze --tokens; full: the full map; "
        "compare: of two prompts; lens-read: by the prompt's own map)",
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
    command.add_argument(
        "--texts",
        type=options.worded(parse.positive),
        default=100,
        metavar="N",
        help="of lens-fit: how many (default 100)",
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
                args.tokens or (LENGTH if args.analysis == "lens-fit" else TOKENS),
                args.analysis,
                top=args.top,
                fast=args.fast,
                answer=args.answer,
                texts=args.texts,
                memory=how.memory,
                dtype=how.torch_dtype,
                device=how.device,
            )
    publish(made, args)
    return 0
