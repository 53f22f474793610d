"""Arguments and helpers that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.maps.model import Model


def positive(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def byte_count(text: str) -> int:
    """An argparse type: bytes, with an optional unit (8GiB, 512M, 2e9)."""
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    body = text.strip().lower().removesuffix("b")
    number = body.rstrip("kmgti")
    try:
        value = int(float(number) * units[body[len(number) :]])
    except (ValueError, KeyError, OverflowError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write for example 8GiB or 512MiB")
    return value


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a GGUF file, or a name that `ggufjac models` lists")


def add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all of this process)")


def add_memory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--memory",
        type=byte_count,
        metavar="SIZE",
        help="what everything but the mapped file may take, e.g. 8GiB (default: a quarter of the machine's)",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        default="cpu",
        metavar="NAME",
        help="where to compute, in torch's words: cpu (default), cuda, mps, xpu",
    )


def add_prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompt", metavar="PROMPT", nargs="?", help="the text; '-' or nothing reads standard input")
    command.add_argument("--prompt-file", metavar="FILE", help="read the prompt from a UTF-8 file")


def read_prompt(args: argparse.Namespace) -> str:
    """The prompt from the argument, a file, or standard input; one newline at the end of those is dropped."""
    if args.prompt_file is not None:
        if args.prompt is not None:
            raise UserError("give either PROMPT or --prompt-file, not both")
        try:
            return _without_newline(Path(args.prompt_file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{args.prompt_file}: the prompt cannot be read ({error})") from None
    if args.prompt is None or args.prompt == "-":
        if sys.stdin is None or (args.prompt is None and sys.stdin.isatty()):
            raise UserError('no prompt; give one as ggufjac analyze MODEL "The capital of France is"')
        try:
            return _without_newline(sys.stdin.buffer.read().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"standard input is not UTF-8 ({error.reason} at byte {error.start})") from None
    return str(args.prompt)


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def require_outputs(args: argparse.Namespace) -> None:
    """Complain about a file, or a folder for pictures, that cannot be written before any work is done."""
    from ggufjac.atomic import require_writable

    require_writable(args.json, args.save, args.svg, args.html)
    if args.plot is not None:
        from ggufjac.plots import require

        require(args.plot)


def use_threads(threads: int | None) -> None:
    """Bind torch, and with it the kernels, to a number of threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def open_model(name: str) -> Model:
    """The model that MODEL names."""
    from ggufjac.registry import resolve

    path = resolve(name)  # before torch is imported: a wrong name is answered at once
    from ggufjac.maps.model import Model

    return Model.open(path)


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """A line on a terminal's standard error that tells what is being done; silent elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda step: status.update(f"{what}: {step}")
