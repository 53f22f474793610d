"""The chat templates that a GGUF file carries."""

from __future__ import annotations

from ggufjac.chat.template import ChatTemplate
from ggufjac.errors import UserError
from ggufjac.reader.file import GGUFFile

#: The key of the usual template; others have its name behind a dot.
KEY = "tokenizer.chat_template"
#: What transformers calls special tokens in templates, and GGUF's keys for their ids (one as it is spelt there).
SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}


def has_template(file: GGUFFile) -> bool:
    """Whether the file has the usual template."""
    return KEY in file.metadata


def template_names(file: GGUFFile) -> tuple[str, ...]:
    """The names of the templates beside the usual one."""
    return tuple(key.removeprefix(f"{KEY}.") for key in file.metadata if key.startswith(f"{KEY}."))


def template_of(file: GGUFFile, name: str | None = None) -> ChatTemplate:
    """The file's template, or one of those with a name. Raises UserError where there is none."""
    key = KEY if name is None else f"{KEY}.{name}"
    names = template_names(file)
    if key not in file.metadata:
        there = f"; --template takes {', '.join(names)}" if names else ""
        if name is None:
            raise UserError(
                f"{file.path}: the file has no chat template, so that --chat and --messages cannot be used; write the "
                f"prompt as the model wants it{there}"
            )
        raise UserError(
            f"{file.path}: there is no chat template called {name!r}{there or '; the file has none with a name'}"
        )
    source: str = file.metadata.require(key, str)
    return ChatTemplate(source, f"{file.path} ({key})", _special(file))


def _special(file: GGUFFile) -> dict[str, str]:
    """The texts of special tokens by transformers' names, as far as the file names them."""
    ids: dict[str, int] = {
        name: i
        for name, key in SPECIAL.items()
        if type(i := file.metadata.get(f"tokenizer.ggml.{key}")) is int  # not isinstance: to Python a bool is an int
    }
    if "tokenizer.ggml.tokens" not in file.metadata:
        return {}
    texts = file.metadata.some_strings("tokenizer.ggml.tokens", set(ids.values()))
    return {name: texts[i] for name, i in ids.items() if i in texts}
