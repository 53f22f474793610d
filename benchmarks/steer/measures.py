"""What a push costs, at which strength it costs so much, and how often a text that is pushed says a concept's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from benchmarks.steer.concepts import Concept
from ggufjac.analyses.steer.effects import Effect
from ggufjac.analyses.steer.pushes import Pushed
from ggufjac.analyses.steer.search import strengths_at
from ggufjac.maps.model import Model
from ggufjac.network.texts import Influence, Reading, Sampling, goes_on, logits_of_texts

#: The strength, in lengths of the stream, at which the search for an equal price begins.
START = 0.25

#: Makes what pushes texts, of which each has one of the pushes that are meant (by number) at a strength.
Pushing = Callable[[Sequence[int], Sequence[float]], Influence]


@dataclass(frozen=True)
class Place:
    """A vector [width] behind a layer; 1 is as long as the stream usually is there."""

    layer: int
    vector: Tensor


def fixed(model: Model, places: Sequence[Place]) -> Pushing:
    """Vectors that are added at every position."""

    def pushing(which: Sequence[int], strengths: Sequence[float]) -> Influence:
        vectors = torch.stack([s * places[i].vector for i, s in zip(which, strengths, strict=True)])
        return Pushed(model.family, [places[i].layer for i in which], vectors)

    return pushing


@dataclass(frozen=True)
class Priced:
    """strength: at which the price, in nats a token, was met; mass: the mean probability of the concept's tokens."""

    strength: float
    price: float
    mass: float


class Meter:
    """Ordinary texts, of which the first tokens are read, and what pushes do to them."""

    def __init__(self, model: Model, texts: Sequence[str], length: int) -> None:
        self.model = model
        self.texts = self._texts = torch.tensor([model.tokenize(text)[:length] for text in texts])
        self._usual = torch.cat(list(logits_of_texts(model.family, self._texts, torch.float32))).log_softmax(-1)

    def lengths(self) -> Tensor:
        """The usual length of the stream behind every layer, the median over positions but the first: [layers]."""
        found = []
        for text in self._texts:
            states = self.model.run(text.tolist()).states[1:]
            found.append(torch.stack([s[1:, : self.model.family.leaving].norm(dim=-1) for s in states]))
        return torch.cat(found, 1).median(1).values

    @property
    def usual(self) -> Tensor:
        """How likely every token is there, on average: [n_vocab]."""
        return self._usual.exp().mean((0, 1))

    def usual_mass(self, tokens: Sequence[int]) -> float:
        return float(self._usual[..., list(tokens)].exp().sum(-1).mean())

    def measured(
        self, pushing: Pushing, which: Sequence[int], strengths: Sequence[float], tokens: Sequence[Sequence[int]]
    ) -> list[tuple[float, float]]:
        """The price of pushes, and the mean probability of each one's tokens."""
        m = len(self._texts)
        rows = [(i, s) for i, s in zip(which, strengths, strict=True) for _ in range(m)]

        def influence(piece: slice) -> Influence:
            return pushing([i for i, _ in rows[piece]], [s for _, s in rows[piece]])

        found, at = [], 0
        texts = self._texts.repeat(len(which), 1)
        for logits in logits_of_texts(self.model.family, texts, torch.float32, influence=influence):
            for row in logits:
                k, ln_p = at % m, row.log_softmax(-1)
                usual = self._usual[k]
                kl = float((usual.exp() * (usual - ln_p)).sum(-1).mean())
                found.append((kl, float(ln_p[:, list(tokens[which[at // m]])].exp().sum(-1).mean())))
                at += 1
        return [
            (sum(kl for kl, _ in found[i : i + m]) / m, sum(p for _, p in found[i : i + m]) / m)
            for i in range(0, len(found), m)
        ]

    def at_price(self, pushing: Pushing, n: int, price: float, tokens: Sequence[Sequence[int]]) -> list[Priced]:
        """Of n pushes, each at the strength where it costs so much."""

        def measure(which: Sequence[int], strengths: Sequence[float]) -> list[Effect]:
            return [Effect(mass, kl) for kl, mass in self.measured(pushing, which, strengths, tokens)]

        found = strengths_at([price] * n, [START] * n, measure)
        return [Priced(strength, effect.price, effect.gain) for strength, effect in found]


# --- texts -------------------------------------------------------------------------------------------------------


class Drawn(Sampling):
    """At temperature 1 from the whole distribution, without sorting it."""

    def _draw(self, logits: Tensor, generator: torch.Generator) -> int:
        reached = logits.softmax(-1).cumsum(-1)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64) * reached[-1]
        return min(len(logits) - 1, int(torch.searchsorted(reached, drawn, right=True)))


@dataclass(frozen=True)
class Rated:
    """One text: whose prompt and seed; hits, others: counted words in it, and those that no method was given; tokens:
    how many it has; own: mean ln p of them under the pushed model."""

    prompt: int
    seed: int
    text: str
    hits: int
    others: int
    tokens: int
    own: float


def texts_of(
    model: Model,
    prompts: Sequence[str],
    seeds: int,
    n_tokens: int,
    pushing: Pushing | None,
    strengths: Sequence[float],
    concepts: Sequence[Concept],
) -> list[list[Rated]]:
    """What the prompts go on with under every push, [pushes][prompts x seeds]."""
    ids, vocab = [model.tokenize(prompt) for prompt in prompts], model.vocab
    cases = list(product(range(len(strengths)), range(len(prompts)), range(seeds)))
    which, pushed = [i for i, _, _ in cases], [strengths[i] for i, _, _ in cases]
    influence = None if pushing is None else pushing(which, pushed)
    reading = Reading(model.family, max(map(len, ids)) + n_tokens, influence=influence)
    known = vocab.n_tokens

    def ends(token: int) -> bool:
        return token < known and vocab.ends_text(token)

    # one stream of random numbers for a prompt and a seed, whatever the push
    drawn = Drawn(1.0, seeds=tuple(1000 * seed + prompt for _, prompt, seed in cases))
    new: list[list[int]] = [[] for _ in cases]
    own: list[list[float]] = [[] for _ in cases]
    for step in goes_on(reading, [ids[prompt] for _, prompt, _ in cases], n_tokens, drawn, ends):
        for k in step.alive.nonzero()[:, 0].tolist():
            token = int(step.tokens[k])
            new[k].append(token)
            own[k].append(float(step.logits[k, token] - step.logits[k].logsumexp(-1)))
    found: list[list[Rated]] = [[] for _ in strengths]
    for k, (i, prompt, seed) in enumerate(cases):
        spelled = b"".join(vocab.piece(token) for token in new[k] if token < known).decode("utf-8", "replace")
        c = concepts[i]
        found[i].append(
            Rated(
                prompt,
                seed,
                spelled,
                c.hits(spelled),
                c.others(spelled),
                len(new[k]),
                sum(own[k]) / len(own[k]),
            )
        )
    return found
