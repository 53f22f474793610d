"""A model on this disk, and the names that mean it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ggufjac.registry.files import ModelFile, weight_type, whole_stem


@dataclass(frozen=True)
class LocalModel:
    """A model on this disk."""

    name: str
    """The name that `ggufjac models` shows and every MODEL argument accepts."""
    path: Path
    """The file; of a split model the first piece."""
    source: str
    """Whose file it is: 'ggufjac', or the program that downloaded it."""
    size: int
    """Bytes, of all pieces."""
    aliases: tuple[str, ...] = ()
    """Other names that mean this model."""
    refusal: str | None = None
    """Why no file on this disk is this model by itself, and what would help: it is listed, and refused on use."""


def named(model: ModelFile, name: str, source: str, *aliases: str) -> LocalModel:
    """A model under `name`; the bare file name, with and without its ending, means it as well."""
    others = dict.fromkeys((*aliases, model.path.name, model.path.stem, whole_stem(model.path.name)))
    others.pop(name, None)
    return LocalModel(name, model.path, source, model.size, tuple(others))


def repository_models(name: str, files: list[tuple[Path, ModelFile]], source: str) -> list[LocalModel]:
    """The models of one repository, each with the folder that its name counts from, as repository/file.

    One that is alone also answers to the repository's name, and each to repository:type, as llama.cpp has it.
    """
    alone = (name,) if len(files) == 1 else ()
    return [
        named(model, f"{name}/{model.path.relative_to(root).as_posix()}", source, *alone, *typed(name, model))
        for root, model in files
    ]


def typed(repository: str, model: ModelFile) -> tuple[str, ...]:
    """repository:type, where the file's name tells the type of its weights."""
    kind = weight_type(model.path.name)
    return () if kind is None else (f"{repository}:{kind}",)


def first_of_each(models: Iterable[LocalModel]) -> list[LocalModel]:
    """Of models with one name in several folders of a source the first, sorted by name."""
    first: dict[str, LocalModel] = {}
    for model in models:
        first.setdefault(model.name, model)
    return sorted(first.values(), key=lambda model: model.name.lower())
