"""The models that are on this disk already: pulled ones, Hugging Face's cache, Ollama, LM Studio."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufjac.registry.catalogue import CatalogueEntry, HubFile, entries
from ggufjac.registry.files import ModelFile, model_files
from ggufjac.registry.places import Places


@dataclass(frozen=True)
class LocalModel:
    """A model on this disk."""

    name: str
    """The name that `ggufjac models` shows and every MODEL argument accepts."""
    path: Path
    """The file; of a split model the first piece."""
    source: str
    """Whose file it is: 'ggufjac', 'Hugging Face', 'Ollama' or 'LM Studio'."""
    size: int
    """Bytes, of all pieces."""
    aliases: tuple[str, ...] = ()
    """Other names that mean this model."""


def local_models(places: Places | None = None) -> list[LocalModel]:
    """What is on this disk, by source and name. Folders and manifests that cannot be read are passed over.

    Raises UserError where a models.toml is malformed.
    """
    places = places or Places.here()
    return [*_pulled(places), *_hub(places), *_ollama(places), *_lmstudio(places)]


def stored(entry: CatalogueEntry, places: Places) -> Path | None:
    """The file of an entry where it is on this disk in its full size, else None.

    A Hugging Face entry is used from Hugging Face's cache: the pinned revision if it is there, else the same file
    of another one, and, for files fetched by hand, from the folder of pulled files.
    """
    candidates: list[Path] = []
    if isinstance(entry.source, HubFile):
        snapshots = _snapshots(places.hub / repository_folder(entry.source.repository), first=entry.source.revision)
        candidates += [snapshot / entry.source.file for snapshot in snapshots]
    candidates.append(places.models / entry.file)
    for path in candidates:
        found = model_files([path])
        if found and entry.size in (None, found[0].size):
            return path
    return None


def _pulled(places: Places) -> list[LocalModel]:
    names = {entry.file: entry.name for entry in entries(places)}
    files = model_files(_children(places.models))
    return [_named(model, names.get(model.path.name, model.path.name), "ggufjac") for model in files]


def _lmstudio(places: Places) -> list[LocalModel]:
    """LM Studio keeps publisher/repository/file.gguf."""
    models: list[LocalModel] = []
    for root in places.lmstudio:
        for repository in (folder for publisher in _children(root) for folder in _children(publisher)):
            models += _repository(
                f"{repository.parent.name}/{repository.name}", repository, _children(repository), "LM Studio"
            )
    return _first_of_each(models)


def _hub(places: Places) -> list[LocalModel]:
    """Hugging Face's cache: a folder models--org--name per repository, and in it snapshots of revisions."""
    models: list[LocalModel] = []
    for folder in _children(places.hub):
        kind, *name = folder.name.split("--")
        if kind != "models" or not name:
            continue
        newest: dict[str, Path] = {}
        for snapshot in _snapshots(folder):
            for path in _walk(snapshot):
                newest.setdefault(path.relative_to(snapshot).as_posix(), snapshot)
        by_snapshot: dict[Path, list[Path]] = {}
        for file, snapshot in newest.items():
            by_snapshot.setdefault(snapshot, []).append(snapshot / file)
        files = [(root, model) for root, paths in by_snapshot.items() for model in model_files(paths)]
        models += _repository_models("/".join(name), files, "Hugging Face")
    return sorted(models, key=lambda model: model.name.lower())


def _repository(name: str, root: Path, paths: Iterable[Path], source: str) -> list[LocalModel]:
    return _repository_models(name, [(root, model) for model in model_files(paths)], source)


def _repository_models(name: str, files: list[tuple[Path, ModelFile]], source: str) -> list[LocalModel]:
    """The models of one repository, as repository/file; one that is alone also answers to the repository's name."""
    alone = (name,) if len(files) == 1 else ()
    return [_named(model, f"{name}/{model.path.relative_to(root).as_posix()}", source, *alone) for root, model in files]


def repository_folder(repository: str) -> str:
    """The folder of a repository in Hugging Face's cache."""
    return "models--" + repository.replace("/", "--")


def _snapshots(folder: Path, first: str | None = None) -> list[Path]:
    """The snapshots of a repository in Hugging Face's cache: revision `first`, then main, then by age, newest first."""
    try:
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        main = ""

    def order(snapshot: Path) -> tuple[bool, bool, float]:
        return snapshot.name != first, snapshot.name != main, -_changed(snapshot)

    return sorted(_children(folder / "snapshots"), key=order)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


MODEL_LAYER = "application/vnd.ollama.image.model"


def _ollama(places: Places) -> list[LocalModel]:
    """Ollama keeps manifests/<host>/<namespace>/<model>/<tag>, and weights in blobs/sha256-<digest>."""
    models: list[LocalModel] = []
    for root in places.ollama:
        for manifest in _walk(root / "manifests"):
            host, *middle = manifest.relative_to(root / "manifests").parts
            if len(middle) < 2:
                continue
            *repository, tag = middle
            blob = _blob(root, manifest)
            if blob is not None:
                name, *aliases = _ollama_names(host, repository, tag)
                models.append(LocalModel(name, blob.path, "Ollama", blob.size, tuple(aliases)))
    return _first_of_each(models)


def _ollama_names(host: str, repository: list[str], tag: str) -> list[str]:
    """The names Ollama accepts for a model, the one it shows first."""
    full = "/".join([host, *repository])
    names = [full]
    if host == "registry.ollama.ai":
        names.insert(0, "/".join(repository))
        if repository[0] == "library" and len(repository) > 1:
            names.insert(0, "/".join(repository[1:]))
    return [f"{name}:{tag}" for name in names] + (names if tag == "latest" else [])


def _blob(root: Path, manifest: Path) -> ModelFile | None:
    """The weights a manifest names, or None where it names no single file of weights that is there."""
    try:
        layers: Any = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        digests = [layer["digest"] for layer in layers if layer["mediaType"] == MODEL_LAYER]
        (digest,) = digests
        algorithm, value = digest.split(":")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if algorithm != "sha256" or not value.isalnum():
        return None
    for name in (f"sha256-{value}", f"sha256:{value}"):  # the second form is that of Ollama before 0.1.26
        path = root / "blobs" / name
        if os.path.isfile(path):
            return ModelFile(path, os.path.getsize(path))
    return None


def _named(model: ModelFile, name: str, source: str, *aliases: str) -> LocalModel:
    """A model under `name`; the bare file name, with and without its ending, means it as well."""
    others = dict.fromkeys((*aliases, model.path.name, model.path.stem))
    others.pop(name, None)
    return LocalModel(name, model.path, source, model.size, tuple(others))


def _first_of_each(models: list[LocalModel]) -> list[LocalModel]:
    """Of models with one name in several folders of a source the first, sorted by name."""
    first: dict[str, LocalModel] = {}
    for model in models:
        first.setdefault(model.name, model)
    return sorted(first.values(), key=lambda model: model.name.lower())


def _children(folder: Path) -> list[Path]:
    """What is in a folder, hidden files left out; nothing where it is missing or may not be read."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, hidden ones left out."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))
