"""What a report says about a model before it says anything about a prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ggufjac.readable import storable
from ggufjac.reader import GGUFFile
from ggufjac.registry.stores.ollama import name_of_blob


@dataclass(frozen=True)
class ModelFacts:
    """name: the file's own, or its file name; file: that name, of Ollama's files what Ollama calls it; architecture: as
    the file says; bytes: its size; weights: number of parameters; mix: share of the weights per type."""

    name: str
    file: str
    architecture: str
    bytes: int
    weights: int
    mix: dict[str, float]


def facts_of(file: GGUFFile) -> ModelFacts:
    """The facts about a file, which may be something that goes with a model and has no architecture ("").

    Raises UserError where its architecture is no text.
    """
    counts: Counter[str] = Counter()
    for info in file.tensors.values():
        n = 1
        for dimension in info.shape:
            n *= dimension
        counts[info.type.name] += n
    total = sum(counts.values())
    name = file.metadata.get("general.name")
    called = name_of_blob(file.path) or storable(file.path.name)
    return ModelFacts(
        name=name if isinstance(name, str) and name else called.removesuffix(".gguf"),
        file=called,
        architecture=file.metadata.optional("general.architecture", str, ""),
        bytes=file.size,
        weights=total,
        mix={kind: n / max(1, total) for kind, n in counts.most_common()},
    )
