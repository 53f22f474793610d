"""The models that are on this disk already: pulled ones, and those of other programs."""

from __future__ import annotations

from pathlib import Path

from ggufjac.registry.catalogue import CatalogueEntry, HubFile, entries
from ggufjac.registry.files import model_files
from ggufjac.registry.places import Places
from ggufjac.registry.stores.disk import children
from ggufjac.registry.stores.folders import folder_models
from ggufjac.registry.stores.huggingface import hub_models, repository_folder, snapshots
from ggufjac.registry.stores.llamacpp import llamacpp_models
from ggufjac.registry.stores.model import LocalModel, named
from ggufjac.registry.stores.ollama import ollama_models


def local_models(places: Places | None = None) -> list[LocalModel]:
    """What is on this disk, by source and name. Folders and manifests that cannot be read are passed over.

    Raises UserError where a models.toml is malformed.
    """
    places = places or Places.here()
    return [
        *_pulled(places),
        *hub_models(places.hub),
        *llamacpp_models(places.llamacpp),
        *ollama_models(places.ollama),
        *folder_models(places.lmstudio, "LM Studio"),
        *folder_models(places.jan, "Jan"),
        *folder_models(places.gpt4all, "GPT4All"),
        *folder_models(places.others, "GGUFJAC_MODELS"),
    ]


def stored(entry: CatalogueEntry, places: Places) -> Path | None:
    """The file of an entry where it is on this disk in its full size, else None.

    A Hugging Face entry is used from Hugging Face's cache: the pinned revision if it is there, else the same file
    of another one, and, for files fetched by hand, from the folder of pulled files.
    """
    candidates: list[Path] = []
    if isinstance(entry.source, HubFile):
        for hub in (places.hub, *places.llamacpp):
            kept = snapshots(hub / repository_folder(entry.source.repository), first=entry.source.revision)
            candidates += [snapshot / entry.source.file for snapshot in kept]
    candidates.append(places.models / entry.file)
    for path in candidates:
        found = model_files([path])
        if found and entry.size in (None, found[0].size):
            return path
    return None


def _pulled(places: Places) -> list[LocalModel]:
    names = {entry.file: entry.name for entry in entries(places)}
    files = model_files(children(places.models))
    return [named(model, names.get(model.path.name, model.path.name), "ggufjac") for model in files]
