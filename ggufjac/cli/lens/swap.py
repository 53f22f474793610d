"""`ggufjac lens swap`: a text in whose making two tokens are exchanged in the stream."""

from __future__ import annotations

import argparse

from ggufjac.analyses.lens.options import LensSwapOptions
from ggufjac.cli import common, options
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "swap",
        help="exchange two tokens in the stream while the model writes",
        description="Let a prompt go on while the coordinates of the stream along two tokens' lens directions are "
        "exchanged behind some blocks, beside the text that the model writes by itself, with the price in likelihood.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--lens", metavar="FILE", help="the lens: a file, or lens:NAME of a pulled one (required)")
    command.add_argument("--from", dest="source", metavar="TOKEN", help="the token that is exchanged (required)")
    command.add_argument("--to", dest="target", metavar="TOKEN", help="with this one (required)")
    options.add(command, LensSwapOptions, without=("rules", "path"))
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    for flag, given in (("--lens", args.lens), ("--from", args.source), ("--to", args.target)):
        if given is None:
            raise UserError(f'{flag} is missing; write for example --lens FILE --from " soccer" --to " rugby"')
    require_outputs(args)
    typed = common.read_prompt(args)
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.lens.swap import lens_swap

        common.use_threads(common.threads_of(args))
        chosen, prompt = options.chosen(args, LensSwapOptions, model), typed.on(model)
        with common.watched("swapping") as progress, torch.no_grad():
            result = lens_swap(model, prompt, args.lens, args.source, args.target, chosen, progress)
    publish(result, args)
    return 0
