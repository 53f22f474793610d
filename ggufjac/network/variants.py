"""What the network itself says when what enters it is changed: every coefficient is computed anew.

Texts that begin alike share what is computed of their beginning: a prompt is run once, its keys and values are kept,
and a variant is run from the position on where it differs. Where a part of the network keeps something else, variants
are run as a whole. Either way several go side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.families.parts import Continued, Past, Run
from ggufjac.network.batches import batches
from ggufjac.network.forward import propagate, rounded_context, run_of
from ggufjac.quants.memory.store import DeviceWeights

#: Positions of variants that go on side by side: each is run from where the first of them differs, so a few more make
#: better use of the weights, and many repeat what they share (SmolLM2, 100 tokens: twice as many or half take more).
BRANCHED = 1 << 8

#: From a variant's number and a position to its tokens [m] and vectors [m, d] from there on.
_Rest = Callable[[int, int], tuple[Tensor, Tensor]]


def logits_at(
    family: Family,
    ids: Sequence[int],
    inputs: Tensor,
    memory: int | None = None,
    store: DeviceWeights | None = None,
    passed: Callable[[int], None] | None = None,
) -> Tensor:
    """The logits at the last position for n variants of a prompt: ids [T], inputs [n, T, d] -> [n, n_vocab].

    The tokens' numbers and positions stay what they are, only their vectors differ. memory: bytes that the values, and
    on a device the weights, may take (None: a quarter of what it has). store: where the device of the inputs has these.
    passed: is told how many variants have passed one more layer.
    """
    placed = family.source.placed(inputs.device, memory)
    store = placed.store if store is None else store
    pieces = batches(family, len(inputs), inputs.shape[1], 1, inputs.element_size(), placed.budget.values)
    with torch.no_grad():
        passes = (propagate(family, run_of(ids, store=store), inputs[piece], keep=0, passed=passed) for piece in pieces)
        return torch.cat([done.logits[:, 0] for done in passes])


@dataclass(frozen=True)
class WholePrompt:
    """A prompt whose tokens are taken away one at a time; ids [T], inputs [T, d], the vectors that enter.

    memory, store, passed: as for `logits_at`.
    """

    family: Family
    ids: Tensor
    inputs: Tensor
    memory: int | None = None
    store: DeviceWeights | None = None
    passed: Callable[[int], None] | None = None

    def zeroed(self, positions: Sequence[int], last: int = 1) -> Tensor:
        """The logits [n, last, n_vocab] at the last positions with the vector at each of the positions set to 0."""

        def rest(i: int, start: int) -> tuple[Tensor, Tensor]:
            vectors = self.inputs[start:].clone()
            vectors[positions[i] - start] = 0
            return self.ids[start:], vectors

        return self._branched(len(self.ids), positions, rest, last)

    def left_out(self, positions: Sequence[int], last: int = 1) -> Tensor:
        """The logits [n, last, n_vocab] at the last positions of the prompt without each of the positions, which has
        more tokens than that."""

        def rest(i: int, start: int) -> tuple[Tensor, Tensor]:
            before, after = slice(start, positions[i]), slice(positions[i] + 1, None)
            tokens, vectors = (torch.cat((x[before], x[after])) for x in (self.ids, self.inputs))
            return tokens, vectors

        return self._branched(len(self.ids) - 1, positions, rest, last)

    def _branched(self, n_tokens: int, positions: Sequence[int], rest: _Rest, last: int) -> Tensor:
        """The logits of variants of n_tokens each, which are the prompt before their position."""
        order = sorted(range(len(positions)), key=positions.__getitem__)
        # those with logits are run in any case
        firsts = [min(positions[i], n_tokens - last) if self.family.resumes else 0 for i in order]
        placed = self.family.source.placed(self.inputs.device, self.memory)
        store = placed.store if self.store is None else self.store
        context = rounded_context(n_tokens)
        found: list[Tensor] = []
        with torch.no_grad():
            past = self._kept(firsts[-1], context, store)
            while len(found) < len(order):
                start = firsts[len(found)]
                left, length = len(order) - len(found), n_tokens - start
                itemsize = self.inputs.element_size()
                piece = next(batches(self.family, left, length, last, itemsize, placed.budget.values, BRANCHED))
                chosen = [rest(i, start) for i in order[len(found) : len(found) + piece.stop]]
                tokens, vectors = (torch.stack(x) for x in zip(*chosen, strict=True))
                where = torch.arange(start, n_tokens)
                if start:
                    run: Run = Continued(tokens, where, context, past=past.first(start), store=store)
                else:
                    run = Run(tokens, where, context, store=store)
                rows = range(length - last, length)
                found.extend(propagate(self.family, run, vectors, rows=rows, keep=0, passed=self.passed).logits)
        back = torch.tensor(order).argsort().tolist()
        return torch.stack([found[i] for i in back])

    def _kept(self, n: int, context: int, store: DeviceWeights | None) -> Past:
        """The keys and values of the first n positions."""
        past = Past(n)
        if n:
            run = Continued(self.ids[:n], torch.arange(n), context, past=past, store=store)
            propagate(self.family, run, self.inputs[:n], keep=0)
            past.passed(run.positions)
        return past
