"""`ggufjac steer`: a text pushed towards the concept of another prompt, and the control vector for llama.cpp."""

from __future__ import annotations

import argparse
import math

from ggufjac.cli import common, options
from ggufjac.cli.analyze import add_outputs
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "steer",
        help="push a text towards the concept of another prompt",
        description="Let a prompt go on while the maps of a concept prompt push its stream at one layer, beside the "
        "text that is not steered; or write the concept as a control vector for llama.cpp.",
    )
    common.add_model(command)
    command.add_argument("--concept", required=True, metavar="TEXT", help="the prompt whose maps steer")
    command.add_argument("--prompt", metavar="TEXT", help="what to go on with; '-' or nothing reads standard input")
    command.add_argument("--prompt-file", metavar="FILE", help="read that from a UTF-8 file")
    command.add_argument(
        "--layer",
        type=_layer,
        metavar="N",
        help="steer what leaves this layer, from 0; auto (default): where the concept gains the most at a fixed price",
    )
    command.add_argument(
        "--strength",
        type=_strength,
        nargs="+",
        default=(0.5, 1.0, 1.5),
        metavar="X",
        help="how hard: 1 adds half of the stream's own length; several give a text each (default 0.5 1 1.5)",
    )
    command.add_argument("--tokens", type=common.positive, default=24, metavar="N", help="new tokens (default 24)")
    command.add_argument(
        "--temperature", type=_temperature, default=0.0, metavar="X", help="draw tokens (default 0: the likeliest one)"
    )
    command.add_argument(
        "--top-p", type=_share, default=1.0, metavar="X", help="draw from the likeliest that have this probability"
    )
    command.add_argument(
        "--count",
        action="append",
        default=[],
        metavar="TOKEN",
        help="count this token (its text, or #ID) instead of those that the concept's map writes; may be repeated",
    )
    command.add_argument("--export", metavar="FILE", help="write a control vector for llama.cpp (GGUF)")
    command.add_argument(
        "--export-layers", type=_layers, metavar="N,N", help="its layers (default: all that llama.cpp can steer)"
    )
    command.add_argument(
        "--direction",
        choices=("left", "written"),
        help="of its layers: the leading left vectors (default), or what the concept's tokens write, the sum of J x",
    )
    options.add_how(command, either_run=False)
    add_outputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    if not args.concept:
        raise UserError("the concept is empty; give at least one character")
    if args.export is None and (args.export_layers or args.direction):
        raise UserError("--export-layers and --direction say what a control vector holds; they go with --export FILE")
    require_writable(args.export)
    with options.opened(args, "steering") as (model, prompt, progress):
        from ggufjac.analyses.steering import Options, steer

        chosen = Options(
            layer=args.layer,
            strengths=tuple(dict.fromkeys(args.strength)),
            tokens=args.tokens,
            temperature=args.temperature,
            top_p=args.top_p,
            counted=tuple(dict.fromkeys(options.token_called(model, text, "--count") for text in args.count)),
            export=args.export,
            export_layers=args.export_layers,
            directions=args.direction or "left",
            **options.how(args),
        )
        result = steer(model, args.concept, prompt, chosen, progress)
    from ggufjac.reports.files import publish

    publish(result, args)
    return 0


def _layer(text: str) -> int | None:
    """An argparse type: a layer's number, or auto."""
    if text == "auto":
        return None
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no layer; give its number, from 0, or auto")
    return int(text)


def _layers(text: str) -> tuple[int, ...]:
    """An argparse type: whole numbers with commas between them."""
    numbers = [word.strip() for word in text.split(",")]
    if not all(number.isdigit() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of layers; write for example 11,12,13")
    return tuple(dict.fromkeys(map(int, numbers)))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _strength(text: str) -> float:
    """An argparse type: a finite number that is not 0."""
    value = _number(text)
    if not math.isfinite(value) or value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no strength; give a number that is not 0, for example 1.0")
    return value


def _temperature(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    value = _number(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no temperature; give 0 or more")
    return value


def _share(text: str) -> float:
    """An argparse type: a number above 0 and at most 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no probability; give a number above 0 and at most 1")
    return value
