"""`ggufjac extremes`: the longest columns and rows of each token's map, decoded."""

from __future__ import annotations

import argparse

from ggufjac.cli import common, options
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "extremes",
        help="the longest columns and rows of each token's map",
        description="Which entries of a token's vector write most, which entries of the output read most of it, and "
        "what these columns and rows mean as tokens.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--top", type=common.positive, default=8, metavar="K", help="of each token (default 8)")
    command.add_argument(
        "--method",
        choices=("auto", "exact", "probes"),
        default="auto",
        help="compute all lengths, or estimate them first and compute the longest (default: by what it costs)",
    )
    options.add_how(command)
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with options.opened(args, "columns and rows") as (model, prompt, progress):
        from ggufjac.analyses.extremes import Options, extremes

        result = extremes(model, prompt, Options(top=args.top, method=args.method, **options.how(args)), progress)
    from ggufjac.reports.files import publish

    publish(result, args)
    return 0
