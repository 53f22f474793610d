"""`ggufjac lens show`: what a file says of the lens in it."""

from __future__ import annotations

import argparse

from ggufjac.cli.show import show_lens


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "show",
        help="what is in a file of a lens",
        description="How a lens was fitted, how large its matrices are and how sure; also of published ones.",
    )
    command.add_argument("file", metavar="FILE", help="a lens: .pt or .safetensors")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    show_lens(args.file)
    return 0
