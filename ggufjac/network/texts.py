"""Texts that a model goes on with, token by token, several side by side.

The keys and values of positions that were run are kept, so that a step costs one token of every text. Where a part of
the network keeps something else (the state of a recurrence, the positions before a short convolution), the texts are
run anew as a whole for every token: slower, and the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.families.parts import Continued, Past, Run
from ggufjac.network.batches import batches
from ggufjac.network.forward import propagate, rounded_context
from ggufjac.operators import Operator
from ggufjac.quants.memory.devices import device_called
from ggufjac.quants.memory.store import DeviceWeights


class Influence(Protocol):
    """What changes the states of texts while a model reads them."""

    def advance(self, tokens: Tensor) -> None:
        """The texts go on with these tokens [n, m]; their states are met next."""

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        """What the state [n, R, width] that leaves a layer goes through, R being the last positions of the texts."""


class Reading:
    """Texts of one length that are read side by side; every call of `read` goes on where the one before ended.

    n_ctx: how many positions they may have. cached: whether the layers' keys and values are kept (None: where the
    family can go on from them; False: never). memory: bytes of which weights may stay on the device (None: a quarter of
    what it has); store: where it has them already. Raises UserError for a device that this machine does not have.
    """

    def __init__(
        self,
        family: Family,
        n_ctx: int,
        dtype: torch.dtype = torch.float32,
        *,
        influence: Influence | None = None,
        device: str | torch.device = "cpu",
        memory: int | None = None,
        store: DeviceWeights | None = None,
        cached: bool | None = None,
    ) -> None:
        self.family = family
        self.dtype = dtype
        self.influence = influence
        self.device = device_called(device, dtype)
        self.cached = family.resumes if cached is None else cached and family.resumes
        self._n_ctx = n_ctx
        self._past = Past(n_ctx)
        self._tokens: Tensor | None = None
        self._store = family.source.placed(self.device, memory).store if store is None else store

    def read(self, tokens: Tensor) -> Tensor:
        """The logits of the next token [n, n_vocab], after the texts went on with `tokens` [n, m]."""
        before = 0 if self._tokens is None else self._tokens.shape[1]
        self._tokens = tokens if self._tokens is None else torch.cat((self._tokens, tokens), 1)
        if self.influence is not None:
            self.influence.advance(tokens)
        read = tokens if self.cached else self._tokens
        positions = torch.arange(self._tokens.shape[1] - read.shape[1], self._tokens.shape[1])
        context = rounded_context(self._n_ctx)
        if self.cached:
            run: Run = Continued(read, positions, context, past=self._past, store=self._store)
        else:
            run = Run(read, positions, context, store=self._store)
        with torch.no_grad():
            x = embedded(self.family, read, self.dtype).to(self.device)
            edit = None if self.influence is None else self.influence.edit
            logits: Tensor = propagate(self.family, run, x, keep=0, edit=edit).logits[:, 0]
        if self.cached:
            self._past.passed(torch.arange(before, before + tokens.shape[1]))
        return logits


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest one at temperature 0, otherwise at random among the top_k likeliest
    (0: all), and of these among the likeliest that together have the share top_p of their probability.

    Every text has random numbers of its own from the same seed, so that it does not depend on those beside it; seeds:
    one for each text, where they are to differ.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    seeds: tuple[int, ...] = ()

    def chooser(self, n: int) -> Callable[..., Tensor]:
        """From the logits [n, n_vocab] of n texts to a token of each [n], once for every step; with a mask [n], the
        others have 0 and use up none of their random numbers."""
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds or (self.seed,) * n]

        def choose(logits: Tensor, mask: Tensor | None = None) -> Tensor:
            chosen = torch.zeros(n, dtype=torch.long)
            for i in range(n):
                if mask is None or bool(mask[i]):
                    row = logits[i].cpu().double()
                    chosen[i] = row.argmax() if self.temperature == 0 else self._draw(row, generators[i])
            return chosen

        return choose

    def _draw(self, logits: Tensor, generator: torch.Generator) -> int:
        # the likeliest is at 0, so that no temperature, however near to 0, makes it infinite
        distances = (logits - logits.max()) / torch.tensor(self.temperature, dtype=logits.dtype)
        p, order = distances.softmax(-1).sort(descending=True, stable=True)
        if self.top_k:
            p = p[: self.top_k] / p[: self.top_k].sum()
        reached = p.cumsum(-1)
        n = min(len(p), 1 + int((reached < self.top_p).sum()))
        drawn = torch.rand(1, generator=generator, dtype=torch.float64) * reached[n - 1]
        return int(order[min(n - 1, int(torch.searchsorted(reached[:n], drawn, right=True)))])


@dataclass(frozen=True)
class NextToken:
    """One more token of every text: the logits [n, n_vocab] it was chosen by, the tokens [n], and whether each text
    was still going on [n] (false as well while its prompt is read)."""

    logits: Tensor
    tokens: Tensor
    alive: Tensor


def goes_on(
    reading: Reading,
    prompts: Tensor | Sequence[Sequence[int]],
    n_tokens: int,
    sampling: Sampling,
    ends: Callable[[int], bool] = lambda _: False,
) -> Iterator[NextToken]:
    """Texts that begin with prompts ([n, P], or of a length each) and go on for n_tokens more, or until all have come
    to a token that ends them.

    The longer prompts are read token by token beyond the shortest one's end, while the others go on already.
    """
    texts = [list(map(int, prompt)) for prompt in prompts]
    choose, lengths = sampling.chooser(len(texts)), torch.tensor([len(text) for text in texts])
    ended = torch.zeros(len(texts), dtype=torch.bool)
    at = int(lengths.min())
    tokens = torch.tensor([text[:at] for text in texts])
    while n_tokens > 0:
        logits = reading.read(tokens)
        begun = lengths <= at
        alive = begun & (at < lengths + n_tokens) & ~ended
        chosen = choose(logits, begun)
        yield NextToken(logits, chosen, alive)
        ended |= alive & torch.tensor([ends(token) for token in chosen.tolist()])
        at += 1
        if bool((ended | (at >= lengths + n_tokens)).all()):
            return
        chosen = torch.tensor(
            [text[at - 1] if at <= len(text) else token for text, token in zip(texts, chosen.tolist(), strict=True)]
        )
        tokens = chosen[:, None]


def logits_of_texts(
    family: Family,
    tokens: Tensor,
    dtype: torch.dtype,
    *,
    first: int = 0,
    influence: Callable[[slice], Influence] | None = None,
    n_ctx: int | None = None,
    device: str | torch.device = "cpu",
    memory: int | None = None,
    store: DeviceWeights | None = None,
) -> Iterator[Tensor]:
    """The logits of whole texts [n, T] at the positions from `first` on, in pieces of some texts each,
    [k, T - first, n_vocab].

    influence: makes what changes the states of the texts in a slice. memory: bytes that the values, and on a device the
    weights, may take (None: a quarter of what it has); store: where the device has the weights already.
    """
    n_tokens, where = tokens.shape[1], device_called(device, dtype)
    placed = family.source.placed(where, memory)
    store = placed.store if store is None else store
    for piece in batches(family, len(tokens), n_tokens, n_tokens - first, dtype.itemsize, placed.budget.values):
        here = None if influence is None else influence(piece)
        if here is not None:
            here.advance(tokens[piece])
        run = Run(tokens[piece], torch.arange(n_tokens), rounded_context(max(n_ctx or 0, n_tokens)), store=store)
        with torch.no_grad():
            x = embedded(family, tokens[piece], dtype).to(where)
            edit = None if here is None else here.edit
            yield propagate(family, run, x, rows=range(first, n_tokens), keep=0, edit=edit).logits


def embedded(family: Family, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """The vectors [..., d] that enter block 0 for tokens [...]."""
    x: Tensor = family.embed(tokens.flatten().numpy(), dtype).unflatten(0, tokens.shape)
    return x


def states_of_text(
    family: Family,
    tokens: Tensor,
    dtype: torch.dtype,
    *,
    n_ctx: int,
    device: str | torch.device = "cpu",
    store: DeviceWeights | None = None,
) -> tuple[Tensor, ...]:
    """What enters every block when a text [T] is read, and what leaves the last one, [T, width] each; store: where the
    device has the weights already."""
    where = device_called(device, dtype)
    store = family.source.placed(where).store if store is None else store
    run = Run(tokens, torch.arange(len(tokens)), rounded_context(n_ctx), store=store)
    with torch.no_grad():
        x = embedded(family, tokens, dtype).to(where)
        return propagate(family, run, x, last_only=False, keep=0).states
