"""Where a result goes: the files that were asked for, and standard output."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ggufjac.cli.standard import complain, say, say_json
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.common.result import Result


#: What commands call the files that they read.
INPUTS = ("prompt_file", "messages", "prompts", "words", "file", "corpus", "files")


def add_outputs(command: argparse.ArgumentParser) -> None:
    """Where else the report goes."""
    command.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': to standard output instead)")
    command.add_argument("--save", metavar="FILE", help="write arrays and result as safetensors; see `ggufjac show`")
    command.add_argument("--svg", metavar="FILE", help="write the report as a picture")
    command.add_argument("--html", metavar="FILE", help="write the report as a page for the browser, all in one file")
    command.add_argument("--plot", metavar="DIR", help="draw pictures into this folder (they need matplotlib)")
    command.add_argument("--plot-format", choices=("svg", "png"), default="svg", help="of the pictures (default svg)")


def require_outputs(args: argparse.Namespace, *more: str | None) -> None:
    """Complain about a file, or a folder for pictures, that cannot be written before any work is done, and about one
    that must not be; more: other outputs of the command."""
    from ggufjac.atomic import require_writable

    for option, value in (("--save", args.save), ("--svg", args.svg), ("--html", args.html)):
        if value == "-":
            raise UserError(f"{option} writes a file; '-', standard output, goes with --json")
    require_writable(args.json, args.save, args.svg, args.html)
    require_apart(args, args.json, args.save, args.svg, args.html, *more)
    if args.plot is not None:
        from ggufjac.reports.plots import require

        require(args.plot)


def require_apart(args: argparse.Namespace, *outputs: str | None) -> None:
    """Complain about outputs that would replace a model, a file that the command reads, or one another."""
    paths = [path for name in INPUTS for path in _several(vars(args).get(name)) if os.path.isfile(path)]
    read = {os.path.realpath(path) for path in paths}
    written: set[str] = set()
    for output in outputs:
        if output is None or output == "-" or (os.path.exists(output) and not os.path.isfile(output)):
            continue
        place = os.path.realpath(output)
        if place in written:
            raise UserError(f"{output} is named for two outputs")
        if place in read:
            raise UserError(f"{output} is read by this command; write to another file")
        if _holds_model(place):
            raise UserError(f"{output} is a GGUF file, which no result replaces; write to another file")
        written.add(place)


def _several(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _holds_model(path: str) -> bool:
    """Whether a file is GGUF and no control vector, as steer writes them."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(b"GGUF") and b"controlvector" not in head


def publish(result: Result, args: argparse.Namespace) -> None:
    """Every file that was asked for, what is the most to lose first; then the report on standard output.

    Raises UserError where some of them cannot be written, once all others are.
    """
    from ggufjac.atomic import write_text
    from ggufjac.reports.views import VIEWS

    outputs: list[Callable[[], object]] = []
    if args.save is not None:
        outputs.append(lambda: result.save(args.save))
    if args.json not in (None, "-"):
        outputs.append(lambda: write_text(args.json, result.to_json() + "\n"))
    if args.html is not None:
        outputs.append(lambda: write_text(args.html, VIEWS.page(result)))
    if args.svg is not None:
        outputs.append(lambda: write_text(args.svg, VIEWS.svg(result)))
    if args.plot is not None:
        outputs.append(lambda: VIEWS.plot(result, args.plot, args.plot_format))
    outputs.append(lambda: say_json(result.to_json()) if args.json == "-" else say(VIEWS.terminal(result)))
    each(outputs)


def each(outputs: Iterable[Callable[[], object]]) -> None:
    """Make every output, whatever becomes of the others.

    Raises what the first one has raised that failed for another reason than the user's; else UserError with all of
    these reasons.
    """
    refused: list[str] = []
    failed: list[Exception] = []
    for output in outputs:
        try:
            output()
        except UserError as error:
            refused.append(str(error))
        except Exception as error:
            failed.append(error)
    if failed:
        for reason in refused:
            complain(reason)
        raise failed[0]
    if refused:
        raise UserError("; ".join(refused))
