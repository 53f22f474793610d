"""A GGUF file as far as texts and tokens go: its vocabulary and its chat templates, and none of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from ggufjac.chat.messages import MessageLike, messages_of
from ggufjac.chat.prompt import Bos, Prompt, PromptLike
from ggufjac.errors import UserError
from ggufjac.llamacpp.barevocab import BareVocab, Vocabulary
from ggufjac.llamacpp.tokenizers import is_usual
from ggufjac.llamacpp.vocab import Vocab
from ggufjac.reader import GGUFFile
from ggufjac.reader.template import template_of

if TYPE_CHECKING:
    from typing_extensions import Self


class TextFile:
    """An open file whose tokens can be read, also where its architecture cannot. Use it as a context manager, or close
    it, which closes the file."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file

    def close(self) -> None:
        if "vocab" in self.__dict__:
            self.vocab.close()
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @cached_property
    def vocab(self) -> Vocabulary:
        """llama.cpp's own tokenizer for this file; where it has none, what the file says of its tokens."""
        try:
            return Vocab.load(self.file.path)
        except UserError as error:
            return BareVocab(self.file, str(error))

    @property
    def untokenized(self) -> BareVocab | None:
        """What the file says of its tokens where llama.cpp has no tokenizer for it; its names tell of most files that
        it has one, without loading it."""
        if "vocab" not in self.__dict__ and is_usual(self.file):
            return None
        return self.vocab if isinstance(self.vocab, BareVocab) else None

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Token ids, special tokens and BOS exactly as llama.cpp adds them; special: whether "<s>" and the like in the
        text are the tokens of that name."""
        return self.vocab.tokenize(text, parse_special=special)

    def detokenize(self, ids: Sequence[int]) -> str:
        return self.vocab.detokenize(list(ids))

    def render(
        self,
        messages: str | Iterable[MessageLike],
        add_generation_prompt: bool = True,
        *,
        template: str | None = None,
        now: datetime | None = None,
    ) -> str:
        """The text that the file's chat template makes of messages (as `Message` or dicts; a text is a user's).

        add_generation_prompt: it ends where the assistant's answer begins, or, where the last message is the
        assistant's, where this ends; False: with the end of the last turn. template: one of the file's by its name
        (None: the usual one). now: the time that the template is told (None: the present).

        Raises UserError for messages that are none, for a file without the template, and where it does not take them.
        """
        return self.chat(messages, add_generation_prompt, template=template, now=now).text

    def chat(
        self,
        messages: str | Iterable[MessageLike],
        add_generation_prompt: bool = True,
        *,
        template: str | None = None,
        special: bool = True,
        bos: Bos = "auto",
        now: datetime | None = None,
    ) -> Prompt:
        """Messages as a prompt for every analysis. As `render`; special, bos: as in `Prompt`."""
        found = messages_of(messages)
        made = template_of(self.file, template)
        return made.prompt(found, add_generation_prompt, special=special, bos=bos, now=now)

    def continuation(self, ids: Sequence[int], text: str) -> list[int]:
        """The tokens of a text that follows others, as the tokenizer cuts it there.

        Where it would join the text with what stands before it, which is fixed, the text is cut behind a line's end.
        """
        before = self.detokenize(ids)
        shared, whole = self.tokenize(before), self.tokenize(before + text)
        if shared and whole[: len(shared)] == shared:
            return whole[len(shared) :]
        lead, alone = (self.vocab.tokenize("\n" + more, add_special=False) for more in ("", text))
        if alone[: len(lead)] == lead:
            return alone[len(lead) :]
        return self.vocab.tokenize(text, add_special=False)

    def ids_of(self, prompt: PromptLike) -> list[int]:
        """The token ids of a prompt given as text, as ids or as a `Prompt`. Raises UserError where there are none."""
        if isinstance(prompt, str):
            prompt = Prompt(prompt)
        ids = self._read(prompt) if isinstance(prompt, Prompt) else [int(i) for i in prompt]
        if not ids:
            raise UserError("the prompt has no tokens")
        return ids

    def _read(self, prompt: Prompt) -> list[int]:
        """The tokens of a text. Raises UserError where it is empty, and where BOS is asked for and there is none."""
        if not prompt.text:
            raise UserError("the prompt is empty; give at least one character")
        is_chat = bool(prompt.messages)
        bos, adds_bos = self.vocab.bos, self.vocab.adds_bos
        ids = self.vocab.tokenize(prompt.text, add_special=not is_chat, parse_special=prompt.special)
        if prompt.bos == "no" and adds_bos and not is_chat:
            return ids[1:]
        if (prompt.bos == "yes" or (prompt.bos == "auto" and is_chat and adds_bos)) and ids[:1] != [bos]:
            if bos is None:
                raise UserError(f"{self.file.path}: the file names no BOS; leave out --bos yes")
            ids = [bos, *ids]
        return ids
