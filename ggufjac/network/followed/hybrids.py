"""Passes that follow llama.cpp up to one of its steps and are exact from there on.

Between the exact run of a prompt and llama.cpp's own run lie as many hybrids as there are steps that can round: the
first n steps as llama.cpp took them, all others in exact arithmetic. Two neighbours differ in one step, so what the
second one's result has over the first one's is what rounding did in that step, at the very values that llama.cpp had
there and on its whole way through the rest of the network, nothing linearised. From the exact run to llama.cpp's these
differences add up by construction. They are taken in the order of the network: in another order single ones would
be others, by what two roundings do together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.network.followed.run import FollowedRun
from ggufjac.network.forward import ForwardPass, build
from ggufjac.quants.memory.threads import kernels_first

#: Positions of all hybrids of a layer that go on together, and scores over the vocabulary that are kept at a time.
ROWS, SCORES = 1 << 9, 1 << 24


@dataclass(frozen=True)
class Hybrid:
    """The pass that is exact from one step on: `part` of a layer, -1 for what follows the last one.

    output [d]: its final state after the output norm. The hybrid of the very first step is the exact run.
    """

    layer: int
    part: str
    output: Tensor


def hybrids(family: Family, done: ForwardPass) -> Iterator[Hybrid]:
    """The hybrids of a pass that followed llama.cpp, in the order of the steps.

    Raises ValueError for any other pass.
    """
    run = _following(done)
    n_tokens = len(run.tokens)
    last = (n_tokens - 1,)
    step = max(1, ROWS // n_tokens)
    for layer in range(family.n_layer):
        prefixes = replace(run, layer=layer, rows=last if layer == family.n_layer - 1 else None).prefixes()
        for start in range(0, len(prefixes), step):
            with kernels_first():
                outputs = _finished(family, run, prefixes[start : start + step], done.states[layer], last)
            for part, output in zip(run.seen[layer][start : start + step], outputs, strict=True):
                yield Hybrid(layer, part, output)
    for part, prefix in zip(run.seen.get(run.layer, []), run.prefixes(), strict=True):
        yield Hybrid(run.layer, part, family.output_norm.value(prefix, done.states[-1])[0])


def logits_of(family: Family, done: ForwardPass, found: Sequence[Hybrid]) -> Iterator[Tensor]:
    """The logits [n_vocab] of hybrids of a pass, one after the other; last those of the pass itself, our own."""
    exact = _following(done).exact()
    step = max(1, SCORES // family.n_vocab)
    for start in range(0, len(found), step):
        with kernels_first():
            yield from family.head.value(exact, torch.stack([hybrid.output for hybrid in found[start : start + step]]))
    yield done.head.apply(done.final.apply(done.states[-1], 1.0), 1.0)[0]


def _finished(
    family: Family, run: FollowedRun, prefixes: Sequence[FollowedRun], state: Tensor, last: tuple[int, ...]
) -> Tensor:
    """The final states [n, d] of hybrids that part in one layer, where `state` [T, n] enters."""
    layer = prefixes[0].layer
    x = torch.stack([build(family.layers[layer], prefix, state)[1] for prefix in prefixes])
    exact = replace(run.exact(), shared=_left(run, prefixes))
    for i in range(layer + 1, family.n_layer):
        _, x = build(family.layers[i], exact.at(i, last if i == family.n_layer - 1 else None), x)
    return family.output_norm.value(exact, x)[:, 0]


def _left(run: FollowedRun, prefixes: Sequence[FollowedRun]) -> dict[str, Tensor]:
    """What the layers up to the hybrids' own leave for later ones: theirs for each of them, the others' for all."""
    left = {}
    for name, kept in run.shared.items():
        own = [prefix.shared[name] for prefix in prefixes]
        left[name] = kept if all(value is kept for value in own) else torch.stack(own)
    return left


def _following(done: ForwardPass) -> FollowedRun:
    if not isinstance(done.run, FollowedRun):
        raise ValueError("only a pass that follows llama.cpp has hybrids with the exact one")
    return done.run
