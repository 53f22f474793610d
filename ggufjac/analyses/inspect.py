"""What is in a GGUF file, without reading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.chat.prompt import Message
from ggufjac.errors import UserError
from ggufjac.reader import GGUFFile
from ggufjac.reader.template import has_template, template_names, template_of

#: Hyper-parameters in the order in which people look for them; others follow alphabetically.
FIRST = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv")

#: Letters that are shown of a value: there are licences in full.
LONGEST = 200

#: The chat that shows what a template does.
EXAMPLE = (Message("system", "Answer in one word."), Message("user", "Is the sky blue?"))


@dataclass(frozen=True)
class TypeUse:
    """One tensor type in a file."""

    type: str
    tensors: int
    weights: int
    bytes: int


@dataclass(frozen=True)
class TensorLine:
    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """hyper: the architecture's own keys; tokenizer: facts about it; others: the keys that are neither; refusal: why
    ggufjac cannot analyse the file; notes: what a reader of its results should know; chat: what its chat template makes
    of a system's and a user's message, or of the user's alone (None: it has no template); chat_refusal: why it makes
    nothing of them.
    """

    facts: ModelFacts
    files: tuple[str, ...]
    version: int
    hyper: dict[str, str]
    tokenizer: dict[str, str]
    types: tuple[TypeUse, ...]
    tensors: tuple[TensorLine, ...]
    refusal: str | None
    chat: str | None = None
    chat_refusal: str | None = None
    notes: tuple[str, ...] = ()
    others: dict[str, str] = field(default_factory=dict)


def inspect(file: GGUFFile) -> Inspection:
    """Everything that `ggufjac inspect` tells. Raises UserError for a file whose architecture is no text."""
    from ggufjac.families import family_of
    from ggufjac.maps.model import Model
    from ggufjac.maps.notes import notes_of_file

    refusal: str | None = None
    notes: tuple[str, ...] = ()
    try:
        notes = notes_of_file(Model(file, family_of(file)))
    except UserError as error:
        refusal = str(error).removeprefix(f"{file.path}: ")
    chat, chat_refusal = _chat(file)
    facts = facts_of(file)
    prefix = f"{facts.architecture}."
    keys = [key.removeprefix(prefix) for key in file.metadata if key.startswith(prefix)]
    others = [key for key in file.metadata if not key.startswith((prefix, "tokenizer."))]
    ordered = [key for key in FIRST if key in keys] + sorted(set(keys) - set(FIRST))
    return Inspection(
        facts=facts,
        files=tuple(str(path) for path in file.paths),
        version=file.version,
        hyper={key: _short(file.metadata[prefix + key]) for key in ordered},
        tokenizer=_tokenizer(file),
        types=_types(file),
        tensors=tuple(TensorLine(t.name, t.type.name, tuple(t.shape), t.nbytes) for t in file.tensors.values()),
        refusal=refusal,
        chat=chat,
        chat_refusal=chat_refusal,
        notes=notes,
        others={key: _cut(_short(file.metadata[key])) for key in others},
    )


def _chat(file: GGUFFile) -> tuple[str | None, str | None]:
    """What the chat template makes of the example, and why it makes nothing of it."""
    if not has_template(file):
        return None, None
    try:
        template = template_of(file)
        try:
            return template.prompt(EXAMPLE).text, None
        except UserError:  # there are templates that know of no system message
            return template.prompt(EXAMPLE[1:]).text, None
    except UserError as error:
        return None, str(error).removeprefix(f"{file.path} ")


def _tokenizer(file: GGUFFile) -> dict[str, str]:
    out = {}
    for key in ("model", "pre", "add_bos_token", "add_eos_token", "bos_token_id", "eos_token_id"):
        full = f"tokenizer.ggml.{key}"
        if full in file.metadata:
            out[key] = _short(file.metadata[full])
    if "tokenizer.ggml.tokens" in file.metadata:
        out["tokens"] = str(file.array_length("tokenizer.ggml.tokens"))
    out["chat_template"] = ", ".join(("yes" if has_template(file) else "no", *template_names(file)))
    return out


def _types(file: GGUFFile) -> tuple[TypeUse, ...]:
    uses: dict[str, TypeUse] = {}
    for info in file.tensors.values():
        name = info.type.name
        old = uses.get(name, TypeUse(name, 0, 0, 0))
        weights = int(np.prod(info.shape, dtype=np.int64))
        uses[name] = TypeUse(name, old.tensors + 1, old.weights + weights, old.bytes + info.nbytes)
    return tuple(sorted(uses.values(), key=lambda use: -use.bytes))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _short(value: object) -> str:
    if isinstance(value, str | bool | int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence | np.ndarray):
        items = [_short(item) for item in list(value[:8])]
        return f"[{', '.join(items)}{', …' if len(value) > 8 else ''}]"
    return f"{value:g}" if isinstance(value, np.floating) else str(value)
