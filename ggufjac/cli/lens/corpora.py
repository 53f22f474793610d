"""The texts that --corpus names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac import parse
from ggufjac.analyses.lens.options import LensFitOptions, LensReadOptions
from ggufjac.errors import UserError
from ggufjac.readable import readable

if TYPE_CHECKING:
    from ggufjac.analyses.lens.corpus import Corpus
    from ggufjac.maps.model import Model

#: The corpus that is no file.
SELF = "self"
#: Endings of files that hold prompts or documents as data, and of those that are one document each.
TABLES, DOCUMENTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv"), (".txt", ".md", ".rst", ".text")


def corpus_named(model: Model, name: str, chosen: LensFitOptions | LensReadOptions) -> Corpus:
    """The texts that --corpus means. Raises UserError where there are none."""
    from ggufjac.analyses.lens.corpus import corpus_of, own_words

    if name == SELF:
        return own_words(model, chosen.prompts, length=chosen.length, seed=chosen.seed, device=chosen.device)
    documents = list(_documents(model, Path(name)))
    return corpus_of(model, documents, readable(name), length=chosen.length, skip=chosen.skip, seed=chosen.seed)


def _documents(model: Model, path: Path) -> Iterator[str | list[int]]:
    """The documents in a file, or in all text files of a folder and the folders in it, by name."""
    if path.is_dir():
        found = sorted(inside for inside in path.rglob("*") if inside.suffix.lower() in (*DOCUMENTS, *TABLES))
        if not found:
            raise UserError(f"{path}: the folder has no text files ({', '.join((*DOCUMENTS, *TABLES))})")
        for inside in found:
            yield from _documents(model, inside)
    elif path.suffix.lower() in TABLES:
        from ggufjac.batch.prompts import read_prompts

        for line in read_prompts(path):
            yield model.ids_of(model.chat(line.messages)) if line.messages else _plain(line.prompt)
    else:
        try:
            yield parse.text(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: the text cannot be read ({error})") from None


def _plain(prompt: str | tuple[int, ...]) -> str | list[int]:
    return prompt if isinstance(prompt, str) else list(prompt)
