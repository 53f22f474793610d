"""`ggufjac layers`: how a prediction emerges, layer by layer."""

from __future__ import annotations

import argparse

from ggufjac.cli import common, options
from ggufjac.cli.analyze import add_outputs


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "layers",
        help="how a prediction emerges, layer by layer",
        description="For every layer: the concepts that the map from the tokens to it writes, its stable rank, the "
        "tokens that it draws on, and what its attention and MLP give to the predicted logit, which adds up.",
    )
    common.add_model(command)
    common.add_prompt(command)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--layers", type=_numbers, metavar="N,N", help="these layers, counted from 0 (default: all)")
    which.add_argument("--every", type=common.positive, default=1, metavar="N", help="every so many, with the last one")
    command.add_argument(
        "--what",
        type=_names,
        default=("layer",),
        metavar="PART,PART",
        help="what to read of each layer: layer (what leaves it; default), and what its parts write: attn, mlp, ssm",
    )
    command.add_argument("--layerwise", action="store_true", help="the map of each layer alone as well")
    command.add_argument("--top", type=common.positive, default=6, metavar="K", help="singular triplets (default 6)")
    command.add_argument("--target", metavar="TOKEN", help="follow this token's logit: its text, or #ID")
    options.add_how(command)
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with options.opened(args, "reading the layers") as (model, prompt, progress):
        from ggufjac.analyses.layers import Options, layers

        chosen = Options(
            top=args.top,
            layers=args.layers,
            every=args.every,
            what=args.what,
            layerwise=args.layerwise,
            target=None if args.target is None else options.token_called(model, args.target),
            **options.how(args),
        )
        result = layers(model, prompt, chosen, progress)
    from ggufjac.reports.files import publish

    publish(result, args)
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    """An argparse type: whole numbers and ranges (3,7,11 or 0-5,29)."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of layers; write for example 3,7,11 or 0-5,29")
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names no layer")
    return tuple(found)


def _names(text: str) -> tuple[str, ...]:
    """An argparse type: names with commas between them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no part; write for example layer,attn,mlp")
    return names
