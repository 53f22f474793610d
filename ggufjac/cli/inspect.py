"""`ggufjac inspect`: what is in a file, and whether ggufjac can analyse it."""

from __future__ import annotations

import argparse
import json

from ggufjac.cli import common
from ggufjac.cli.standard import say, say_json


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "inspect",
        help="what is in a GGUF file",
        description="Architecture, hyper-parameters, tensor types and sizes, tokenizer, and whether ggufjac can "
        "analyse the file.",
    )
    common.add_model(command)
    command.add_argument("--tensors", action="store_true", help="list every tensor")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.analyses.common.records import to_plain
    from ggufjac.analyses.inspect import inspect
    from ggufjac.reader import GGUFFile
    from ggufjac.registry import resolve

    with GGUFFile.open(resolve(args.model)) as file:
        found = inspect(file)
    if args.json:
        say_json(json.dumps(to_plain(found), indent=1, ensure_ascii=False))
        return 0
    from ggufjac.reports.tables.inspection import inspection_report

    say(inspection_report(found, tensors=args.tensors))
    return 0
