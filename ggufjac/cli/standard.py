"""The standard streams, whatever they are: of any encoding, full, closed, or a pipe whose reader has left."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from ggufjac.errors import UserError
from ggufjac.readable import curtailed, storable_json, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Signals that end a process which does not listen: a service is stopped, a terminal is closed.
ENDING = ("SIGTERM", "SIGHUP")


def prepare() -> None:
    """Take the streams as they are: characters that standard output's encoding does not have become "?"; a stream that
    is closed is held by the null device, so that no file which is opened takes its place."""
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def listen() -> None:
    """Let signals that end the process unwind it first, as Ctrl-C does, so that temporary files go with it."""
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    complain(f"ended by {signal.Signals(number).name}")
    raise SystemExit(128 + number)


def complain(text: str) -> None:
    """One line on standard error, where that can be written; names of any length in it are curtailed."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"ggufjac: {curtailed(visible(text))}", file=sys.stderr, flush=True)


def say(*parts: RenderableType, width: int | None = None, wrapped: bool = True) -> None:
    """Print parts of a report; width: of what is no terminal (None: rich's own); wrapped: False lets long lines be,
    which the terminal breaks, so that they can be copied.

    Raises UserError where standard output is closed or cannot be written, BrokenPipeError where its reader has left.
    """
    from rich.console import Console

    from ggufjac.reports.inert import Inert

    drawn = _Drawn()
    console = Console(file=drawn, width=None if drawn.isatty() else width)
    for part in parts:
        console.print(Inert(part), soft_wrap=not wrapped)
    say_text(drawn.getvalue())


class _Drawn(io.StringIO):
    """What will be written to standard output, drawn for it: rich itself would end the process where that fails."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.stdout, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()


def say_json(text: str) -> None:
    """Print JSON, in ASCII where the encoding of standard output does not have its characters. Raises as `say`."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = storable_json(text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    say_text(text + "\n")


def say_text(text: str) -> None:
    """Print a text as it is. Raises as `say`."""
    if sys.stdout is None:
        raise UserError("standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon()
        raise UserError(f"standard output cannot be written: {error.strerror or error}") from None


def abandon() -> None:
    """Point standard output nowhere, so that the interpreter's last flush of what is left is quiet."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
