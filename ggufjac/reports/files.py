"""Results to files and back. A file appears whole or not at all: it is written beside its place and renamed."""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ggufjac.analyses.prediction import Analysis

#: Columns of a report written as a picture or page.
EXPORT_WIDTH = 140
#: The metadata key under which a safetensors file carries its result.
RESULT = "ggufjac.result"


def require_writable(*targets: str | None) -> None:
    """Complain about a place that cannot be written before any work is done."""
    for target in targets:
        if target is None or target == "-":
            continue
        folder = Path(target).absolute().parent
        if Path(target).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            reason = "is a folder" if Path(target).is_dir() else f"its folder {folder} is missing or not writable"
            raise UserError(f"{target} cannot be written: {reason}")


def write(target: str | Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file in the target's folder, then rename it to the target."""
    path = Path(target).absolute()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}") from None
    os.close(handle)
    try:
        fill(Path(name))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise UserError(f"{target} cannot be written: {error.strerror}") from None
        raise


def write_text(target: str | Path, text: str) -> None:
    """`write` for text, as UTF-8."""

    def fill(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    write(target, fill)


def publish(result: Analysis, arrays: dict[str, Tensor], args: argparse.Namespace) -> None:
    """The report on standard output, and every file that was asked for."""
    from rich.console import Console

    from ggufjac.reports.analysis import AnalysisReport

    report = AnalysisReport(result)
    if args.json == "-":
        print(to_json(result))
    else:
        Console().print(report)
        if args.json is not None:
            write_text(args.json, to_json(result) + "\n")
    if args.save is not None:
        save(args.save, result, arrays)
    if args.svg is not None or args.html is not None:
        recorder = Console(record=True, width=EXPORT_WIDTH, file=io.StringIO(), force_terminal=True)
        recorder.print(report)
        title = f"ggufjac: {result.model.name}"
        if args.svg is not None:
            write_text(args.svg, recorder.export_svg(title=title, clear=False))
        if args.html is not None:
            write_text(args.html, recorder.export_html(clear=False))


def to_json(result: Analysis) -> str:
    """The result in the schema of docs/json.md. A number that is not finite is null."""
    from ggufjac.analyses.records import to_plain

    return json.dumps(_finite(to_plain(result)), ensure_ascii=False, indent=1, allow_nan=False)


def save(target: str | Path, result: Analysis, arrays: dict[str, Tensor]) -> None:
    """Arrays and result as one safetensors file."""
    from safetensors.torch import save_file

    contiguous = {name: array.detach().contiguous() for name, array in arrays.items()}
    write(target, lambda path: save_file(contiguous, path, metadata={RESULT: to_json(result)}))


def load(source: str | Path) -> tuple[Analysis, dict[str, Tensor]]:
    """What `save` wrote. Raises UserError for any other file."""
    from safetensors import SafetensorError, safe_open

    from ggufjac.analyses.prediction import SCHEMA, Analysis
    from ggufjac.analyses.records import from_plain

    if not Path(source).is_file():
        raise UserError(f"{source}: there is no such file")
    try:
        with safe_open(source, framework="pt") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{source}: this is no safetensors file ({error})") from None
    if RESULT not in metadata:
        raise UserError(f"{source}: the file holds no ggufjac result; `ggufjac analyze --save FILE` writes one")
    try:
        plain = json.loads(metadata[RESULT])
        if plain["schema"] != SCHEMA:
            raise UserError(f"{source}: written in the schema {plain['schema']!r}; this version reads {SCHEMA!r}")
        return from_plain(Analysis, plain), arrays
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source}: the result in it is damaged ({error})") from None


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
