"""Folders of files at any depth: LM Studio's publisher/repository/file.gguf, Jan's, GPT4All's, the user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ggufjac.registry.files import model_files
from ggufjac.registry.stores.disk import walk
from ggufjac.registry.stores.model import LocalModel, first_of_each, named, typed


def folder_models(roots: Iterable[Path], source: str) -> list[LocalModel]:
    """The models below the folders, named by their path in it.

    One that is alone in publisher/repository, or in a folder below that, also answers to that folder's name, and each
    to publisher/repository:type. A publisher's name alone would mean another model once its second one is there.
    """
    models: list[LocalModel] = []
    for root in roots:
        files = model_files(walk(root))
        names = [PurePosixPath(model.path.relative_to(root).as_posix()) for model in files]
        inside = Counter(folder for name in names for folder in _repositories(name))
        for model, name in zip(files, names, strict=True):
            alone = [str(folder) for folder in _repositories(name) if inside[folder] == 1]
            kinds = [also for folder in _repositories(name) for also in typed(str(folder), model)]
            models.append(named(model, str(name), source, *alone, *kinds))
    return first_of_each(models)


def _repositories(name: PurePosixPath) -> list[PurePosixPath]:
    return [folder for folder in name.parents if len(folder.parts) >= 2]
