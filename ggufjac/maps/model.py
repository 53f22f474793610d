"""An open model: from text to tokens, to the map of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ggufjac.chat.messages import MessageLike, messages_of
from ggufjac.chat.prompt import Bos, Prompt, PromptLike
from ggufjac.errors import UserError
from ggufjac.families import Family, family_of
from ggufjac.families.parts import Run
from ggufjac.llamacpp.barevocab import BareVocab, Vocabulary
from ggufjac.llamacpp.tokenizers import is_usual
from ggufjac.llamacpp.vocab import Vocab
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.options import MapOptions
from ggufjac.maps.sweeps import Passed
from ggufjac.maps.text import TextMap
from ggufjac.maps.unchanged import Stamps
from ggufjac.maps.within.hooks import Activations
from ggufjac.network.followed.follow import concluded, follow
from ggufjac.network.forward import ForwardPass, path_weights, propagate, run_of
from ggufjac.option import taking
from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.devices import OutOfMemory, available_memory, device_called, forget_cached
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader import GGUFFile
from ggufjac.reader.template import template_of


class Model:
    """One GGUF file, open for any number of prompts. Use it as a context manager, or close it."""

    def __init__(self, file: GGUFFile, family: Family) -> None:
        self.file = file
        self.family = family
        self._stamps = Stamps.of(file.paths)

    @classmethod
    def open(cls, path: str | Path) -> Model:
        """Map the file and check that its architecture, keys and tensors fit together; reads no weights."""
        file = GGUFFile.open(path)
        try:
            return cls(file, family_of(file))
        except BaseException:
            file.close()
            raise

    def require_unchanged(self) -> None:
        """Raise UserError where a file was changed, cut or replaced since it was opened: what was computed from it does
        not count, and its missing pages must not be touched."""
        self._stamps.require_same()

    def close(self) -> None:
        if "vocab" in self.__dict__:
            self.vocab.close()
        self.file.close()

    def __repr__(self) -> str:
        f = self.family
        return f"<{type(self).__name__} {self.file.path.name}: {self.file.architecture}, {f.n_layer} layers, d {f.d}>"

    def __enter__(self) -> Model:
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
        """The token ids of a prompt given as text, as ids or as a `Prompt`, checked against vocabulary and context."""
        if isinstance(prompt, str):
            prompt = Prompt(prompt)
        ids = self._read(prompt) if isinstance(prompt, Prompt) else [int(i) for i in prompt]
        if not ids:
            raise UserError("the prompt has no tokens")
        wrong = [i for i in ids if not 0 <= i < self.family.n_vocab]
        if wrong:
            raise UserError(f"there is no token {wrong[0]}; the vocabulary has {self.family.n_vocab} tokens, from 0")
        if len(ids) > self.family.n_ctx_train:
            raise UserError(
                f"the prompt has {len(ids)} tokens; the model's context holds {self.family.n_ctx_train}: shorten it"
            )
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

    def embed(self, ids: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """The vectors [T, d] that enter block 0."""
        return self.family.embed(np.asarray(ids, dtype=np.int64), dtype)

    def linearize_with(
        self, prompt: PromptLike, options: MapOptions, beside: int = 0, passed: Passed = None
    ) -> DetachedMap:
        """The linear map of one prompt (text, token ids or `Prompt`) at its last position, made as the options say.

        beside: bytes of the budget that other maps hold, of which half of it is taken into account. passed: is told
        how far the pass up the network and the map's sweeps have come.
        Raises UserError for a prompt that does not fit the model, for a device that this machine does not have or that
        lacks the precision, and for a file that llama.cpp cannot run or whose run cannot be followed.
        """
        ids = self.ids_of(prompt)
        done, budget, blocks = self._run_with(ids, options, beside, None, passed)
        made = DetachedMap(tuple(ids), done, budget, blocks)
        made.passed = passed
        return made

    def linearize_text(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        options: MapOptions,
        passed: Passed = None,
    ) -> TextMap:
        """The linear maps of one text at several of its positions, in ascending order, from one pass.

        Raises UserError as `linearize_with`.
        """
        ids = self.ids_of(ids)
        done, budget, blocks = self._run_with(ids, options, 0, tuple(positions), passed)
        made = TextMap(tuple(ids), positions, done, budget, blocks)
        made.passed = passed
        return made

    def _run_with(
        self, ids: list[int], options: MapOptions, beside: int, positions: tuple[int, ...] | None, passed: Passed
    ) -> tuple[ForwardPass, Budget, torch.dtype | None]:
        """The coefficient pass that the options describe, what it leaves of the budget, and the blocks' precision."""
        self.require_unchanged()
        where = device_called(options.device, options.values_dtype)
        budget, store = self._placed(where, options.memory, len(ids))
        budget = budget.less(beside)
        rounded = options.dtype == "bfloat16"
        keep = budget.most_coefficients * 2 // 3 if rounded else budget.most_coefficients  # beside them, half as much
        with torch.no_grad():
            inputs = self.embed(ids, options.values_dtype).to(where)
            budget.require_states(inputs.nbytes, self.family.n_layer + 1, len(ids))
            how = run_of(ids, options.n_ctx, rules=options.linearisation, store=store)
            if options.run == "llama.cpp":
                how = follow(self.family, how, options.llama, positions)
            done = concluded(self._propagated(how, inputs, keep, positions, passed))
        return done, budget.holding(states=done.states_bytes), torch.bfloat16 if rounded else None

    @taking(MapOptions)
    def linearize(self, prompt: PromptLike, options: MapOptions) -> DetachedMap:
        """The linear map of one prompt (text, token ids or `Prompt`) at its last position: the detached one, unless the
        rules are others.

        The options are those of `MapOptions`, by their names: linearize(text, "float64", rules="lrp"). Raises as
        `linearize_with`.
        """
        return self.linearize_with(prompt, options)

    def _placed(self, device: torch.device, memory: int | None, n_tokens: int) -> tuple[Budget, DeviceWeights | None]:
        """Choose which weights of the linear path stay where: on the device, and in the host's page cache."""
        placed = self.family.source.placed(device, memory)
        budget, store = placed.budget, placed.store
        path: list[list[QuantTensor]] | None = None
        if store is not None and not store.arranged and budget.weights < self.family.source.weight_bytes:
            store.arrange(path := path_weights(self.family, n_tokens))
        self._arrange_pages(n_tokens, budget.total if store is None else 0, store, path)
        return budget, store

    def _arrange_pages(
        self, n_tokens: int, budget: int, store: DeviceWeights | None, path: list[list[QuantTensor]] | None
    ) -> None:
        """Where memory does not hold the file beside the budget, choose what of the linear path stays in it.

        The file may take half of what is available even where the budget claims more. What stays on a device needs no
        place in the host's memory.
        """
        available, pages = available_memory(), self.family.source.pages
        if available is None:
            return
        room = max(available - budget, available // 2)
        layers: list[list[str]] = []
        if not pages.fits(room):
            for met in path_weights(self.family, n_tokens) if path is None else path:
                names = (w.name for w in met if w.pages is pages and (store is None or not store.stays(w.name)))
                layers.append(list(dict.fromkeys(names)))
        pages.arrange(layers, room)

    def _propagated(
        self, run: Run, inputs: Tensor, keep: int, positions: tuple[int, ...] | None, passed: Passed
    ) -> ForwardPass:
        """The coefficient pass; where the device has too little memory for it, with less that stays there."""
        while True:
            try:
                return propagate(self.family, run, inputs, keep=keep, rows=positions, passed=passed)
            except OutOfMemory:
                forget_cached(inputs.device)
                if keep:
                    keep = 0
                elif run.store is None or not run.store.release():
                    raise UserError(
                        f"{inputs.device} has too little free memory for one layer of this prompt; close what else "
                        "uses it, shorten the prompt, or compute on the cpu"
                    ) from None

    def run(self, prompt: PromptLike, dtype: torch.dtype = torch.float32, **options: Any) -> ForwardPass:
        """A plain forward pass with the logits of every position; `options` are those of `run_of`."""
        ids = self.ids_of(prompt)
        with torch.no_grad():
            return propagate(self.family, run_of(ids, **options), self.embed(ids, dtype), last_only=False)

    def activations(self, prompt: PromptLike, dtype: torch.dtype = torch.float32) -> Activations:
        """The hidden states of one prompt at all hook points, layers and positions: activations(text)["resid_post.16"]
        is [T, d]."""
        return Activations(self.run(prompt, dtype))
