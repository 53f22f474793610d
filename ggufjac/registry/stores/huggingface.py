"""Hugging Face's cache: a folder models--org--name per repository, and in it snapshots of revisions."""

from __future__ import annotations

from pathlib import Path

from ggufjac.registry.files import ModelFile, model_files
from ggufjac.registry.stores.disk import children, walk
from ggufjac.registry.stores.model import LocalModel, repository_models


def hub_models(hub: Path, source: str = "Hugging Face") -> list[LocalModel]:
    """The models of a cache, of each file the newest that is complete: all pieces of a split one in one snapshot."""
    models: list[LocalModel] = []
    for folder in children(hub):
        kind, *name = folder.name.split("--")
        if kind != "models" or not name:
            continue
        newest: dict[Path, tuple[Path, ModelFile]] = {}
        for snapshot in snapshots(folder):
            for model in model_files(walk(snapshot)):
                newest.setdefault(model.path.relative_to(snapshot), (snapshot, model))
        files = sorted(newest.values(), key=lambda found: str(found[1].path.relative_to(found[0])))
        models += repository_models("/".join(name), files, source)
    return sorted(models, key=lambda model: model.name.lower())


def repository_folder(repository: str) -> str:
    """The folder of a repository in Hugging Face's cache."""
    return "models--" + repository.replace("/", "--")


def snapshots(folder: Path, first: str | None = None) -> list[Path]:
    """The snapshots of a repository in Hugging Face's cache: revision `first`, then main, then by age, newest first."""
    try:
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        main = ""

    def order(snapshot: Path) -> tuple[bool, bool, float]:
        return snapshot.name != first, snapshot.name != main, -_changed(snapshot)

    return sorted(children(folder / "snapshots"), key=order)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
