"""`ggufjac ablate`: the prediction without a token, without a component, by the linear map and by the model."""

from __future__ import annotations

import argparse

from ggufjac.cli import common, options
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "ablate",
        help="take tokens and components away and see what is predicted then",
        description="Drop each token's term, and the leading components, from the linear map, beside what the model "
        "itself says when it is run so.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--target", metavar="TOKEN", help="follow this token's logit: its text, or #ID")
    command.add_argument(
        "--tokens",
        type=positions,
        default=(),
        metavar="N,M,...",
        help="positions to take away, from 0 (default: those with the largest terms, at most 32)",
    )
    command.add_argument(
        "--components", type=common.positive, default=4, metavar="K", help="leading triplets to take away (default 4)"
    )
    options.add_how(command)
    add_outputs(command)
    command.set_defaults(run=run)


def positions(text: str) -> tuple[int, ...]:
    """An argparse type: whole numbers from 0 on, separated by commas."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = (-1,)
    if min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of positions; write for example 0,3,4")
    return found


def run(args: argparse.Namespace) -> int:
    with options.opened(args, "ablating") as (model, prompt, progress):
        from ggufjac.analyses.ablation import Options, ablate

        chosen = Options(
            target=None if args.target is None else options.token_called(model, args.target),
            tokens=args.tokens,
            components=args.components,
            **options.how(args),
        )
        result = ablate(model, prompt, chosen, progress)
    from ggufjac.reports.files import publish

    publish(result, args)
    return 0
