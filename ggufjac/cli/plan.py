"""`ggufjac plan`: memory, reading and time of an analysis, before it runs."""

from __future__ import annotations

import argparse

from ggufjac.cli import common
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "plan",
        help="what an analysis will cost",
        description="Memory, bytes read, operations and time of an analysis on this machine: from a rehearsal without "
        "numbers, and a trial on one layer. Nothing else is computed.",
    )
    common.add_model(command)
    command.add_argument(
        "--tokens", type=common.positive, default=8, metavar="T", help="length of the prompt (default 8)"
    )
    command.add_argument(
        "--analysis",
        choices=("analyze", "each", "combined", "full"),
        default="analyze",
        help="the whole report (default), the triplets of each token's map or of all together, or the full map",
    )
    command.add_argument("--top", type=common.positive, default=8, metavar="K", help="singular triplets (default 8)")
    command.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default float32")
    common.add_memory(command)
    common.add_threads(command)
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ggufjac.reports.files import publish

    common.require_outputs(args)
    with common.open_model(args.model) as model:
        from ggufjac.analyses.planning import plan
        from ggufjac.maps.model import DTYPES

        common.use_threads(args.threads)
        with common.spinner("planning"):
            made = plan(model, args.tokens, args.analysis, top=args.top, memory=args.memory, dtype=DTYPES[args.dtype])
    publish(made, args)
    return 0
