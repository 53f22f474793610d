"""`ggufjac lens merge`: several fits as one."""

from __future__ import annotations

import argparse

from ggufjac.cli.standard import say
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "merge",
        help="several fits of one model as one lens",
        description="The mean of several lenses of one model and the same settings, each weighed by its texts: for "
        "fits on several machines, over different texts.",
    )
    command.add_argument("files", metavar="FILE", nargs="+", help="lenses that `ggufjac lens fit` wrote")
    command.add_argument("--out", metavar="FILE", help="where the lens is written (.pt or .safetensors; required)")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac import atomic

    if args.out is None:
        raise UserError("--out is missing: where the merged lens is written")
    if len(args.files) < 2:
        raise UserError("there is one lens and nothing to merge it with; name two or more")
    atomic.require_writable(args.out)
    from ggufjac.maps.lens.files import load_lens
    from ggufjac.maps.lens.lens import merged

    whole = merged([load_lens(name) for name in args.files])
    whole.save(args.out)
    from ggufjac.reports.tables.lens import lens_report

    say(lens_report(whole, args.out))
    return 0
