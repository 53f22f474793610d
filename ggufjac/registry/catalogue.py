"""models.toml: the models that can be had by name, and where each comes from."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ggufjac.errors import UserError
from ggufjac.registry.files import is_shard
from ggufjac.registry.places import Places


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI and the member of it that holds a model, or a piece of one."""

    package: str
    version: str
    member: str


@dataclass(frozen=True)
class HubFile:
    """A file in a Hugging Face repository; `revision` is a commit, None the repository's main branch."""

    repository: str
    file: str
    revision: str | None = None


@dataclass(frozen=True)
class CatalogueEntry:
    """One model of models.toml."""

    name: str
    architecture: str
    """`general.architecture` of the file."""
    description: str
    licence: str
    prompt: str
    """A prompt worth trying."""
    file: str
    """The GGUF file's name, without folders."""
    source: tuple[Wheel, ...] | HubFile
    """Wheels whose members are the file, one after the other; or a file on Hugging Face."""
    size: int | None = None
    """Bytes, where known."""
    sha256: str | None = None
    """64 lowercase hexadecimal digits, where known."""

    @property
    def source_name(self) -> str:
        """Where the model comes from, for people."""
        return f"hf.co/{self.source.repository}" if isinstance(self.source, HubFile) else "PyPI"

    @property
    def names(self) -> tuple[str, ...]:
        """What may stand for the model: its name, and the repository on the hub from which it comes."""
        return (self.name, self.source_name) if isinstance(self.source, HubFile) else (self.name,)


def entries(places: Places | None = None) -> list[CatalogueEntry]:
    """All models that can be had by name: those that come with ggufjac, then the user's own.

    An entry of the user's own replaces one of the same name. Raises UserError, naming the file and the key, where
    a models.toml is malformed.
    """
    own = (places or Places.here()).home / "models.toml"
    found = {entry.name: entry for entry in read(_builtin())}
    if own.is_file():
        found |= {entry.name: entry for entry in read(own)}
    return list(found.values())


def read(path: Path) -> list[CatalogueEntry]:
    """The entries of one models.toml, in its order. Raises UserError where it is malformed."""
    # A plain import statement would have to differ between Python versions: tomllib came with 3.11.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        tables: Mapping[str, object] = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError; the former says line and column
        raise UserError(f"{path}: not valid TOML: {error}") from error
    return [_entry(path, name, table) for name, table in tables.items()]


def _builtin() -> Path:
    """models.toml beside the modules of an installed package, or at the top of the source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package, package.parent):
        if (folder / "models.toml").is_file():
            return folder / "models.toml"
    raise UserError(f"models.toml is missing from this installation ({package}): install ggufjac again")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PACKAGE = _NAME
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ANY = re.compile(r"[^\r\n]+")


class _Table:
    """A TOML table that is read key by key; each complaint names the file, the table and the key."""

    def __init__(self, path: Path, name: str, values: object) -> None:
        self.where = f"{path}: [{name}]"
        if not isinstance(values, dict):
            raise UserError(f"{self.where} must be a table, not {values!r}")
        self.values: dict[str, Any] = dict(values)
        self.known: list[str] = []

    def take(self, key: str) -> Any:
        self.known.append(key)
        return self.values.pop(key, None)

    def optional(self, key: str, pattern: re.Pattern[str], meaning: str) -> str | None:
        value = self.take(key)
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            raise UserError(f"{self.where}: {key} must be {meaning}, not {value!r}")
        return value

    def text(self, key: str, pattern: re.Pattern[str] = _ANY, meaning: str = "a line of text") -> str:
        value = self.optional(key, pattern, meaning)
        if value is None:
            raise UserError(f"{self.where}: {key} is missing; it must be {meaning}")
        return value

    def relative(self, key: str) -> str:
        """A path inside an archive or a repository; one that leads out of it is refused."""
        value = self.text(key)
        if "\\" in value or value.startswith("/") or {"..", "", "."} & set(value.split("/")):
            raise UserError(f"{self.where}: {key} must be a relative path with forward slashes, not {value!r}")
        return value

    def finish(self) -> None:
        """Refuse keys that nobody asked for: they are misspellings."""
        for key in self.values:
            raise UserError(f"{self.where}: unknown key {key}; known are {', '.join(self.known)}")


def _entry(path: Path, name: str, values: object) -> CatalogueEntry:
    table = _Table(path, name, values)
    if not _NAME.fullmatch(name):
        raise UserError(f"{table.where}: a name has letters, digits, '.', '_' and '-' only")
    size = table.take("size")
    if size is not None and (type(size) is not int or size <= 0):
        raise UserError(f"{table.where}: size must be a positive whole number of bytes, not {size!r}")
    source, file = _source(path, name, table)
    entry = CatalogueEntry(
        name=name,
        architecture=table.text("architecture"),
        description=table.text("description"),
        licence=table.text("licence"),
        prompt=table.text("prompt"),
        file=file,
        source=source,
        size=size,
        sha256=table.optional("sha256", _SHA256, "64 lowercase hexadecimal digits"),
    )
    table.finish()
    return entry


def _source(path: Path, name: str, table: _Table) -> tuple[tuple[Wheel, ...] | HubFile, str]:
    """The source an entry names, and the name of the GGUF file."""
    wheels, hub = table.take("pypi"), table.take("huggingface")
    if (wheels is None) == (hub is None):
        raise UserError(f"{table.where} needs one source: either [[{name}.pypi]] or [{name}.huggingface]")
    if hub is not None:
        found = _hub_file(_Table(path, f"{name}.huggingface", hub))
        return found, PurePosixPath(found.file).name
    file = table.relative("file")
    if "/" in file or not file.endswith(".gguf"):
        raise UserError(f"{table.where}: file must be a file name that ends in .gguf, not {file!r}")
    if not isinstance(wheels, list) or not wheels:
        raise UserError(f"{table.where}: pypi must be one or more tables [[{name}.pypi]]")
    return tuple(_wheel(_Table(path, f"{name}.pypi", wheel)) for wheel in wheels), file


def _wheel(table: _Table) -> Wheel:
    wheel = Wheel(
        package=table.text("package", _PACKAGE, "the name of a package on PyPI"),
        version=table.text("version", _VERSION, "an exact version"),
        member=table.relative("member"),
    )
    table.finish()
    return wheel


def _hub_file(table: _Table) -> HubFile:
    found = HubFile(
        repository=table.text("repository", _REPOSITORY, "a repository as owner/name"),
        file=table.relative("file"),
        revision=table.optional("revision", _REVISION, "a commit, tag or branch"),
    )
    if not found.file.endswith(".gguf") or is_shard(PurePosixPath(found.file).name):
        raise UserError(f"{table.where}: file must be one whole .gguf file, not {found.file!r}")
    table.finish()
    return found
