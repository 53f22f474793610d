"""llama.cpp's downloads: org_name_file.gguf side by side, with manifests, and since 2026 Hugging Face's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ggufjac.registry.files import model_files
from ggufjac.registry.stores.disk import children
from ggufjac.registry.stores.huggingface import hub_models
from ggufjac.registry.stores.model import LocalModel, first_of_each, named, typed

SOURCE = "llama.cpp"


@dataclass(frozen=True)
class _Repository:
    """What manifest=org=name=tag.json says: which repository files that begin with org_name_ are of."""

    name: str
    prefix: str


def llamacpp_models(roots: Iterable[Path]) -> list[LocalModel]:
    """The models of llama.cpp's folders, in both layouts; a file whose repository is known as repository/file."""
    models: list[LocalModel] = []
    for root in roots:
        models += _flat(children(root))
        models += hub_models(root, SOURCE)
    return first_of_each(models)


def _flat(paths: list[Path]) -> list[LocalModel]:
    repositories = {found for path in paths if (found := _manifest(path.name)) is not None}
    owned = [(model, _owner(model.path.name, repositories)) for model in model_files(paths)]
    inside = Counter(owner for _, owner in owned)
    models: list[LocalModel] = []
    for model, owner in owned:
        if owner is None:
            models.append(named(model, model.path.name, SOURCE))
            continue
        file = model.path.name.removeprefix(owner.prefix)
        alone = (owner.name,) if inside[owner] == 1 else ()
        models.append(named(model, f"{owner.name}/{file}", SOURCE, file, *alone, *typed(owner.name, model)))
    return models


def _manifest(name: str) -> _Repository | None:
    match name.removesuffix(".json").split("="):
        case ["manifest", organisation, repository, _]:
            return _Repository(f"{organisation}/{repository}", f"{organisation}_{repository}_")
    return None


def _owner(file: str, repositories: Iterable[_Repository]) -> _Repository | None:
    """The repository that a file is of; of two whose names begin alike the longer one."""
    return max(
        (one for one in repositories if file.startswith(one.prefix)), key=lambda one: len(one.prefix), default=None
    )
