"""`ggufjac lens merge`: several fits of one model as one, each weighed by its texts."""

from __future__ import annotations

import argparse

from ggufjac.cli.outputs import require_apart
from ggufjac.cli.standard import say
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "merge",
        help="several fits of one model as one lens",
        description="The mean of lenses of one model that were fitted by the same rules over different texts.",
    )
    command.add_argument("files", metavar="FILE", nargs="+", help="lenses: .pt or .safetensors")
    command.add_argument("--out", metavar="FILE", required=True, help="where the lens goes: .pt or .safetensors")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    require_writable(args.out)
    require_apart(args, args.out)
    if len(args.files) < 2:
        raise UserError("merging takes two lenses or more: ggufjac lens merge a.pt b.pt --out both.pt")
    from ggufjac.maps.lens.files import load_lens, write_lens
    from ggufjac.maps.lens.lens import merged
    from ggufjac.reports.tables.lens import lens_report

    lens = merged([load_lens(file) for file in args.files])
    write_lens(lens, args.out)
    say(lens_report(lens, args.out))
    return 0
