"""`ggufjac families`: the architectures that can be analysed."""

from __future__ import annotations

import argparse

from ggufjac.cli.standard import say, say_text


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "families",
        help="list the architectures that can be analysed",
        description="The architectures that ggufjac can analyse; each is checked against llama.cpp by the tests.",
    )
    command.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.reports.tables.families import families_markdown, families_table

    if args.markdown:
        say_text(families_markdown() + "\n")
        return 0
    say(families_table())
    return 0
