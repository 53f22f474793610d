"""`ggufjac lens compare`: two lenses beside each other, block by block."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from ggufjac.analyses.lens.options import LensCompareOptions
from ggufjac.cli import common, options
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "compare",
        help="two lenses beside each other",
        description="How far the matrices of two lenses are apart, beside what their standard errors explain; with a "
        "MODEL also how alike both read its states. Two files, two rules, or two quantisations (--model-b).",
    )
    command.add_argument("a", metavar="A", help="a lens: a file, or lens:NAME of a pulled one")
    command.add_argument("b", metavar="B", help="another one")
    command.add_argument("model", metavar="MODEL", nargs="?", help="whose states both read")
    command.add_argument("--model-b", metavar="MODEL", help="whose states B reads, on the same tokens")
    options.add(command, LensCompareOptions, without=("rules", "path"))
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    if args.model_b is not None and args.model is None:
        raise UserError("--model-b goes with a MODEL, whose states the first lens reads")
    require_outputs(args)
    with ExitStack() as opened:
        models = [opened.enter_context(common.open_model(name)) for name in (args.model, args.model_b) if name]
        import torch

        from ggufjac.analyses.lens.comparison import lens_compare

        common.use_threads(common.threads_of(args))
        chosen = LensCompareOptions(**options.given(args, LensCompareOptions))
        with common.watched("comparing") as progress, torch.no_grad():
            one, two = (*models, None, None)[:2]
            result = lens_compare(args.a, args.b, one, two, chosen, progress)
    publish(result, args)
    return 0
