"""A corpus as people have one: a file of text, a file of prompts, or a folder of such files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac import parse
from ggufjac.batch.prompts import JSON_ARRAY, JSON_LINES, TABLES, PromptLine, read_prompts
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.maps.model import Model

#: Files whose every prompt is a document, and those that are one as they stand, of which a folder is searched.
PROMPTS = (*JSON_LINES, *JSON_ARRAY, *TABLES)
PLAIN = (".txt", ".md", ".rst", ".text")


def read_documents(model: Model, path: str | Path) -> list[str | Sequence[int]]:
    """The documents of a file, or of all files of text and of prompts in a folder and those below it, by name.

    A chat is what the model's template makes of it. Raises UserError for what cannot be read, and where there is none.
    """
    place = Path(path)
    if not place.is_dir():
        return _of_file(model, place)
    files = sorted(file for file in place.rglob("*") if file.suffix.lower() in (*PROMPTS, *PLAIN) and file.is_file())
    if not files:
        raise UserError(f"{path}: there is no text in this folder; looked for are {', '.join((*PLAIN, *PROMPTS))}")
    return [document for file in files for document in _of_file(model, file)]


def _of_file(model: Model, path: Path) -> list[str | Sequence[int]]:
    if path.suffix.lower() in PROMPTS:
        return [_document(model, path, line) for line in read_prompts(path)]
    try:
        return [parse.text(path.read_bytes())]
    except OSError as error:
        raise UserError(f"{path}: the texts cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"{path}: the texts cannot be read ({error})") from None


def _document(model: Model, path: Path, line: PromptLine) -> str | Sequence[int]:
    """A text, or the tokens of a chat with the end of its last turn."""
    if not line.messages:
        return line.prompt
    try:
        return model.ids_of_any(model.chat(line.messages, False))
    except UserError as error:
        raise UserError(f"{path}, line {line.line}: {error}") from None
