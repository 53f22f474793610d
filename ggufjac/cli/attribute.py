"""`ggufjac attribute`: which tokens make a logit, through which components and layers."""

from __future__ import annotations

import argparse

from ggufjac.cli import common, options
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "attribute",
        help="which tokens make a logit, through which components and layers",
        description="Exact terms of a logit, or of the difference of two: by input token, by singular component, and "
        "by token and layer. They add up.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument(
        "--target",
        metavar="TOKEN",
        action="append",
        default=[],
        help="a token to explain, its text or #ID; may be repeated (default: the likeliest ones)",
    )
    command.add_argument("--against", metavar="TOKEN", help="explain how far the target's logit is above this one's")
    command.add_argument("--above-mean", action="store_true", help="explain how far it is above the mean of all logits")
    command.add_argument("--top", type=common.positive, default=8, metavar="K", help="components (default 8)")
    options.add_how(command)
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with options.opened(args, "attributing") as (model, prompt, progress):
        from ggufjac.analyses.attribution import Options, attribute

        chosen = Options(
            targets=tuple(options.token_called(model, text) for text in args.target),
            against=None if args.against is None else options.token_called(model, args.against, "--against"),
            above_mean=args.above_mean,
            top=args.top,
            **options.how(args),
        )
        result = attribute(model, prompt, chosen, progress)
    from ggufjac.reports.files import publish

    publish(result, args)
    return 0
