"""`ggufjac ordinary`: the detached Jacobian beside the ordinary one."""

from __future__ import annotations

import argparse

from ggufjac.cli import common, options
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "ordinary",
        help="the detached Jacobian beside the ordinary one",
        description="Both Jacobians of one prompt: how much of the output each gives back, their spectra, and what "
        "they attribute to the tokens.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--target", metavar="TOKEN", help="attribute this token's logit: its text, or #ID")
    command.add_argument("--top", type=common.positive, default=8, metavar="K", help="singular triplets (default 8)")
    options.add_how(command, either_run=False)
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with options.opened(args, "both Jacobians") as (model, prompt, progress):
        from ggufjac.analyses.ordinary import Options, ordinary

        target = None if args.target is None else options.token_called(model, args.target)
        chosen = Options(top=args.top, target=target, **options.how(args))
        result = ordinary(model, prompt, chosen, progress)
    from ggufjac.reports.files import publish

    publish(result, args)
    return 0
