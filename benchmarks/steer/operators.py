"""The published operator of a concept prompt, and what changes of it push instead, on texts that are known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.steer.measures import Pushing
from ggufjac.analyses.steer.influences import ConceptMaps, Steering
from ggufjac.families import Family
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.network.texts import Influence
from ggufjac.operators import Bias, Operator


class Along:
    """Texts that are pushed along directions a [n, T, width] of their own at every position, strengths [n], by the
    stream's own length there (relative) or by one length. An `Influence` on their reading as a whole."""

    def __init__(
        self, family: Family, layer: int, a: Tensor, strengths: Tensor, lengths: Sequence[float | None]
    ) -> None:
        self._family, self._layer, self._a, self._strengths = family, layer, a, strengths
        self._lengths = lengths

    def advance(self, tokens: Tensor) -> None:
        """Nothing: the text is known as a whole."""

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        if layer != self._layer:
            return None
        n = self._family.leaving
        size = self._a.norm(dim=-1, keepdim=True)
        unit = self._a / torch.where(size > 0, size, 1)
        own = state[..., :n].norm(dim=-1, keepdim=True)
        length = torch.stack(
            [own[i] if length is None else torch.full_like(own[i], length) for i, length in enumerate(self._lengths)]
        )
        added = torch.zeros_like(state)
        added[..., :n] = self._strengths[:, None, None].to(state) * length * unit[:, -state.shape[-2] :]
        return Bias(added)


class Scaled:
    """Texts that are pushed along one direction [width] by so much of the stream's own length at every position,
    strengths [n]. An `Influence` on their reading."""

    def __init__(self, family: Family, layer: int, v: Tensor, strengths: Sequence[float]) -> None:
        self._family, self._layer, self._unit, self._strengths = family, layer, v / v.norm(), torch.tensor(strengths)

    def advance(self, tokens: Tensor) -> None:
        """Nothing: it does not depend on the text."""

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        if layer != self._layer:
            return None
        n = self._family.leaving
        added = torch.zeros_like(state)
        added[..., :n] = (
            self._strengths[:, None, None].to(state) * state[..., :n].norm(dim=-1, keepdim=True) * self._unit
        )
        return Bias(added)


class Variants:
    """a_p of a concept prompt on known texts [m, T] behind a layer, {what was changed: ([m, T, width], relative)}."""

    def __init__(self, model: Model, texts: Tensor, layer: int) -> None:
        self.model, self.texts, self.layer = model, texts, layer

    def terms(self, prompt: str, rules: str) -> tuple[Tensor, ConceptMaps]:
        """J_{k mod T} x_k, [m, T, width]."""
        concept = ConceptMaps(
            self.model.family, self.model.linearize_with(prompt, MapOptions(rules=rules)), (self.layer,)
        )
        return concept.terms(self.texts, 0)[0], concept

    def of(self, prompt: str, neutral: str, rules: Sequence[str]) -> dict[str, tuple[Tensor, bool]]:
        terms, concept = self.terms(prompt, "detached")
        published = terms.cumsum(1)
        # the concept prompt's own state there
        h = self.model.run(self.model.tokenize(prompt)).states[self.layer + 1][-1, : self.model.family.leaving]
        c = h - concept.written[0]
        sink = torch.arange(self.texts.shape[1]) % concept.period == 0
        other, _ = self.terms(neutral, "detached")
        found = {
            "published": (published, True),
            "constants added": (published + c, True),
            "less a neutral prompt's": (published - other.cumsum(1), True),
            "without the sink's map": (torch.where(sink[:, None], 0, terms).cumsum(1), True),
            "one length, not the stream's": (published, False),
            "the concept's own end": (concept.written[0].expand_as(published), True),
            "the concept's own end, one length": (concept.written[0].expand_as(published), False),
        }
        for rule in rules:
            found[f"rules {rule}"] = (self.terms(prompt, rule)[0].cumsum(1), True)
        return found


def along(model: Model, layer: int, cases: Sequence[tuple[Tensor, bool]], length: float) -> Pushing:
    """Pushes on the m texts in turn, each case by its number."""
    m = len(cases[0][0])

    def pushing(which: Sequence[int], strengths: Sequence[float]) -> Influence:
        seen: dict[int, int] = {}
        rows = []
        for i in which:
            rows.append(cases[i][0][seen.get(i, 0) % m])
            seen[i] = seen.get(i, 0) + 1
        lengths = [None if cases[i][1] else length for i in which]
        return Along(model.family, layer, torch.stack(rows), torch.tensor(list(strengths)), lengths)

    return pushing


def streamed(concept: ConceptMaps, layer: int) -> Pushing:
    """The published operator on texts that go on; a strength of 1 is the stream's own length."""

    def pushing(which: Sequence[int], strengths: Sequence[float]) -> Influence:
        return Steering(concept, [layer] * len(which), [2 * s for s in strengths])

    return pushing


def scaled(model: Model, layer: int, v: Tensor) -> Pushing:
    """One direction at every position, by the stream's own length there."""
    return lambda which, strengths: Scaled(model.family, layer, v, strengths)
