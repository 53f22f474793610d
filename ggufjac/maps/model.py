"""An open model: from text to tokens, to the map of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.families import Family, family_of
from ggufjac.families.parts import Run
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.options import MapOptions
from ggufjac.maps.sweeps import Passed
from ggufjac.maps.text import TextMap
from ggufjac.maps.textfile import TextFile
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


class Model(TextFile):
    """One GGUF file, open for any number of prompts. Use it as a context manager, or close it."""

    def __init__(self, file: GGUFFile, family: Family) -> None:
        super().__init__(file)
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

    def __repr__(self) -> str:
        f = self.family
        return f"<{type(self).__name__} {self.file.path.name}: {self.file.architecture}, {f.n_layer} layers, d {f.d}>"

    def ids_of(self, prompt: PromptLike) -> list[int]:
        """The token ids of a prompt given as text, as ids or as a `Prompt`, checked against vocabulary and context."""
        ids = self.ids_of_any(prompt)
        if len(ids) > self.family.n_ctx_train:
            raise UserError(
                f"the prompt has {len(ids)} tokens; the model's context holds {self.family.n_ctx_train}: shorten it"
            )
        return ids

    def ids_of_any(self, document: PromptLike) -> list[int]:
        """The same of a document that may be longer than the context."""
        ids = super().ids_of(document)
        wrong = [i for i in ids if not 0 <= i < self.family.n_vocab]
        if wrong:
            raise UserError(f"there is no token {wrong[0]}; the vocabulary has {self.family.n_vocab} tokens, from 0")
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

    def linearize_streams(
        self, ids: Sequence[int], options: MapOptions, start: int = 0, passed: Passed = None
    ) -> TextStreams:
        """The linear maps of one text between its streams, at its positions from `start` on.

        Raises UserError as `linearize_with`.
        """
        ids = self.ids_of(ids)
        done, budget, blocks = self._run_with(ids, options, 0, tuple(range(len(ids))), passed)
        made = TextStreams(tuple(ids), start, done, budget, blocks)
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
