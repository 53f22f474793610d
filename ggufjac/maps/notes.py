"""What a reader should know of a file and of a prompt before believing what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ggufjac.chat.prompt import Prompt, PromptLike
from ggufjac.reader.template import has_template

if TYPE_CHECKING:
    from ggufjac.maps.model import Model
    from ggufjac.maps.textfile import TextFile

HINT = "this model has a chat template; --chat explains the prompt as a chat"
TYPED = "the prompt holds a backslash and an n (\\n) where a newline may be meant; -e reads it as one"


def text_of(model: TextFile, prompt: PromptLike, ids: Sequence[int]) -> str:
    """The text of a prompt, however it was given."""
    if isinstance(prompt, Prompt):
        return prompt.text
    return prompt if isinstance(prompt, str) else model.detokenize(ids)


def notes_of_file(model: Model) -> tuple[str, ...]:
    """Notes on the file."""
    notes = list(model.family.notes)
    if empty := model.family.source.empty_matrices:
        n = len(empty) - 1
        which = f"{empty[0]} and {n} more matrices hold" if n else f"the matrix {empty[0]} holds"
        notes.append(f"{which} only zeros: perhaps the download is unfinished")
    if model.untokenized is not None:
        notes.append(model.untokenized.note)
    return tuple(notes)


def notes_of(model: Model, prompt: PromptLike, ids: Sequence[int]) -> tuple[str, ...]:
    """Notes on the file, on a prompt and on its tokens."""
    on_prompt = notes_of_prompt(model, prompt, ids)  # first, so that llama.cpp has been asked about the tokenizer
    return (*notes_of_file(model), *on_prompt)


def notes_of_prompt(file: TextFile, prompt: PromptLike, ids: Sequence[int]) -> tuple[str, ...]:
    """Notes on a prompt and on its tokens."""
    vocab, notes = file.vocab, list[str]()
    if vocab.bos is not None and list(ids[:2]) == [vocab.bos] * 2:
        name = vocab.piece(vocab.bos).decode("utf-8", "replace")
        notes.append(f"the prompt begins with BOS twice ({name}): --bos no leaves one out")
    given = Prompt(prompt) if isinstance(prompt, str) else prompt
    if not isinstance(given, Prompt) or given.messages:
        return tuple(notes)
    added = given.bos == "yes" or (given.bos == "auto" and vocab.adds_bos)
    own = ids[1:] if added else ids
    special = {vocab.piece(i).decode("utf-8", "replace") for i in own if i < vocab.n_tokens and vocab.is_special(i)}
    beside = any(f"{name}\\n" in given.text or f"\\n{name}" in given.text for name in special if name)
    if beside or given.text.count("\\n") > 1:
        notes.append(TYPED)
    if not special and has_template(file.file):
        notes.append(HINT)
    return tuple(notes)
