"""What other programs' settings say about where their models are. Settings that cannot be read say nothing."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Where systemd looks for units, and for what an administrator adds to them.
_UNITS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
_ASSIGNMENT = re.compile(r"^\s*(Environment|EnvironmentFile)\s*=(.*)$", re.MULTILINE)


def ollama_service(root: Path, user_units: Path, user: Path) -> Iterator[Path]:
    """The folders that OLLAMA_MODELS names in Ollama's systemd units, their drop-ins and environment files.

    `root` is where the system's files are, `user_units` the folder of the user's own units.
    """
    for folder in (*(root / unit for unit in _UNITS), user_units):
        for unit in (folder / "ollama.service", *_drop_ins(folder / "ollama.service.d")):
            for value in _service_values(_text(unit), root):
                # %h is how a unit says "the home of its user", which of a user's own unit is known.
                place = Path(value.replace("%h", str(user)) if folder == user_units else value)
                if place.is_absolute():
                    yield place


def lmstudio_downloads(homes: Iterable[Path], user: Path) -> Iterator[Path]:
    """The models directory that was chosen in LM Studio, which its settings.json calls `downloadsFolder`."""
    for home in homes:
        folder = _setting(home / "settings.json", "downloadsFolder")
        if folder:
            yield user / folder[2:] if folder.startswith(("~/", "~\\")) else home / folder


def jan_data(homes: Iterable[Path], usual: Path) -> Iterator[Path]:
    """Jan's data folder: the one that its settings.json calls `data_folder`, and the usual one."""
    for home in homes:
        folder = _setting(home / "settings.json", "data_folder")
        if folder:
            yield home / folder
    yield usual


def _drop_ins(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.conf"))
    except OSError:
        return []


def _service_values(unit: str, root: Path) -> Iterator[str]:
    for kind, text in _ASSIGNMENT.findall(re.sub(r"\\\r?\n", " ", unit)):
        try:
            words = shlex.split(text)
        except ValueError:  # a quotation mark without its partner
            continue
        if kind == "Environment":
            yield from _models_of(words)
        else:
            for word in words:
                # A minus says that the file may be missing.
                file = root / word.removeprefix("-").lstrip("/")
                for line in _text(file).splitlines():
                    yield from _models_of([line.strip()])


def _models_of(assignments: Iterable[str]) -> Iterator[str]:
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        value = value.strip().strip("\"'")
        if name == "OLLAMA_MODELS" and value:
            yield value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _setting(path: Path, key: str) -> str:
    """A string at the top of a JSON file; empty where there is none."""
    try:
        settings: object = json.loads(_text(path))
    except (ValueError, RecursionError):
        return ""
    value = settings.get(key) if isinstance(settings, dict) else None
    return value.strip() if isinstance(value, str) else ""
