"""`ggufjac show`: the report of a saved analysis, again, or of a lens."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.cli.standard import say
from ggufjac.errors import UserError
from ggufjac.readable import briefly

if TYPE_CHECKING:
    from ggufjac.analyses.common.result import Result


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "show",
        help="print the report of a saved analysis, or of a lens",
        description="Print the report of a file that `ggufjac analyze --save` wrote, or convert it; or what is in a "
        "file of a lens.",
    )
    command.add_argument("file", metavar="FILE", help="a .safetensors file of `ggufjac analyze --save`, or a lens")
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.analyses.table import read_result
    from ggufjac.maps.lens.files import holds_lens

    require_outputs(args)
    if holds_lens(args.file):
        _require_no_outputs(args)
        show_lens(args.file)
        return 0
    result, checked = read_result(args.file)
    if not checked:
        _require_showable(result, args.file)
    publish(result, args)
    return 0


def show_lens(file: str) -> None:
    """Print what is in a file of a lens. Raises UserError where it is none."""
    from ggufjac.maps.lens.files import load_lens
    from ggufjac.reports.tables.lens import lens_report

    say(lens_report(load_lens(file), file))


def _require_no_outputs(args: argparse.Namespace) -> None:
    for name in ("json", "save", "svg", "html", "plot"):
        if getattr(args, name) is not None:
            raise UserError(f"--{name}: {args.file} is a lens, which is only printed")


def _require_showable(result: Result, file: str) -> None:
    """Raise UserError where a result of which no checksum says that it is what was written cannot be shown: its facts
    may contradict each other in any way. Of one that is, whatever goes wrong is a fault of the program."""
    from ggufjac.reports.views import VIEWS

    try:
        VIEWS.text(result)
        VIEWS.page(result)
    except Exception as error:
        why = briefly(f"{type(error).__name__}: {error}")
        raise UserError(f"{file}: the result in it is damaged, or of another version ({why})") from None
