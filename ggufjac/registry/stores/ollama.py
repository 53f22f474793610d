"""Ollama keeps manifests/<host>/<namespace>/<model>/<tag>, and weights in blobs/sha256-<digest>."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufjac.registry.files import ModelFile
from ggufjac.registry.stores.disk import walk
from ggufjac.registry.stores.model import LocalModel, first_of_each

MODEL_LAYER = "application/vnd.ollama.image.model"
ADAPTER_LAYER = "application/vnd.ollama.image.adapter"
TENSOR_LAYER = "application/vnd.ollama.image.tensor"


@dataclass(frozen=True)
class _Layer:
    """A line of a manifest. The digest is the part behind `sha256:`."""

    kind: str
    digest: str
    size: int


def ollama_models(roots: Iterable[Path]) -> list[LocalModel]:
    """The models of Ollama's folders; of one name in several the first whose weights are there. Manifests that cannot
    be read, or that name no weights, are passed over."""
    models = [model for root in roots for model in _models(root)]
    return first_of_each(sorted(models, key=lambda model: not os.path.exists(model.path)))


def _models(root: Path) -> Iterator[LocalModel]:
    for manifest in walk(root / "manifests"):
        host, *middle = manifest.relative_to(root / "manifests").parts
        if len(middle) < 2:
            continue
        *repository, tag = middle
        layers = _layers(manifest)
        weights, tensors = [[one for one in layers if one.kind == kind] for kind in (MODEL_LAYER, TENSOR_LAYER)]
        name, *aliases = _names(host, repository, tag)
        if len(weights) == 1:
            blob, refusal = _blob(root, weights[0])
            if refusal is None and any(layer.kind == ADAPTER_LAYER for layer in layers):
                refusal = _adapted(blob.path)
            yield LocalModel(name, blob.path, "Ollama", blob.size, tuple(aliases), refusal)
        elif tensors and not weights:
            size = sum(layer.size for layer in tensors)
            yield LocalModel(name, manifest, "Ollama", size, tuple(aliases), _TENSORS)


def name_of_blob(path: Path) -> str | None:
    """What Ollama calls the model whose weights are in one of its blobs; None where no manifest has them."""
    if not path.name.startswith(("sha256-", "sha256:")) or path.parent.name != "blobs":
        return None
    digest, root = path.name[len("sha256-") :], path.parent.parent
    for manifest in walk(root / "manifests"):
        host, *middle = manifest.relative_to(root / "manifests").parts
        if len(middle) > 1 and any(one.kind == MODEL_LAYER and one.digest == digest for one in _layers(manifest)):
            *repository, tag = middle
            return _names(host, repository, tag)[0]
    return None


_TENSORS = (
    "Ollama keeps it tensor by tensor for MLX, and not as a GGUF file; pull another tag of it, or the GGUF file from "
    "Hugging Face"
)


def _adapted(blob: Path) -> str:
    return (
        f"Ollama adds a LoRA adapter to the weights of {blob}, which alone are another model; merge the two with "
        "llama.cpp's llama-export-lora, or give this path to see the base model without its adapter"
    )


def _names(host: str, repository: list[str], tag: str) -> list[str]:
    """The names Ollama accepts for a model, the one it shows first."""
    full = "/".join([host, *repository])
    names = [full]
    if host == "registry.ollama.ai":
        names.insert(0, "/".join(repository))
        if repository[0] == "library" and len(repository) > 1:
            names.insert(0, "/".join(repository[1:]))
    return [f"{name}:{tag}" for name in names] + (names if tag == "latest" else [])


def _layers(manifest: Path) -> list[_Layer]:
    """The layers of a manifest; none where it cannot be read, and without those that Ollama would not write."""
    try:
        layers: Any = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        return [found for layer in layers if (found := _layer(layer)) is not None]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _layer(layer: Any) -> _Layer | None:
    try:
        algorithm, digest = layer["digest"].split(":")
        found = _Layer(layer["mediaType"], digest, int(layer.get("size", 0)))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    # The digest becomes part of a path.
    return found if algorithm == "sha256" and digest.isalnum() else None


def _blob(root: Path, layer: _Layer) -> tuple[ModelFile, str | None]:
    """The file of a layer, and why it cannot be had."""
    path = root / "blobs" / f"sha256-{layer.digest}"
    missing = ModelFile(path, layer.size)
    try:
        for place in (path, path.with_name(f"sha256:{layer.digest}")):  # the second is that of Ollama before 0.1.26
            with suppress(FileNotFoundError):
                return ModelFile(place, place.stat().st_size), None
    except PermissionError:
        return (
            missing,
            f"its weights are in {path.parent}, which your user may not look into; have yourself permitted to",
        )
    except OSError as error:
        return missing, f"its weights, {path}, cannot be looked at ({error.strerror})"
    return missing, f"Ollama has its name, but its weights are not there ({path}); pull it again with `ollama pull`"
