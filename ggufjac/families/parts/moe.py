"""Mixtures of experts: the choice is frozen, each chosen expert is its own MLP on the tokens routed to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.run import Part, Run, Taken
from ggufjac.operators import Derivative, Identity, Operator, Parallel, Routed, Scale, Sequential, Weigh
from ggufjac.operators.routed import routes_of

#: From the router's logits to scores: over all experts, or of the chosen ones alone, which the logits then choose.
Gating: TypeAlias = Literal["softmax", "sigmoid", "softmax of chosen", "sigmoid of chosen", "sqrt of softplus"]

#: Under which name a layer leaves the tokens of the positions that its MLP has.
TOKENS = "tokens of the positions in hand"
#: llama.cpp keeps the sum of the weights it divides by above the smallest normal number of float16.
SMALLEST_SUM = 2.0**-14


@dataclass(frozen=True)
class Routing:
    """Which experts a token takes, and their weights.

    used: experts per token. normalised: divide their weights by the sum. scale multiplies the weights. selection_bias
    [n_expert] is added to the scores for the choice alone (DeepSeek-V3, arXiv 2412.19437). With groups > 1 the
    choice is among the experts of the `groups_used` groups whose two best scores have the largest sum.
    """

    used: int
    gating: Gating = "softmax"
    normalised: bool = True
    scale: float = 1.0
    selection_bias: Tensor | None = None
    groups: int = 1
    groups_used: int = 1

    def choose(
        self, logits: Tensor, settle: Callable[[Tensor], Tensor] = lambda chosen: chosen
    ) -> tuple[Tensor, Tensor]:
        """logits [..., n_expert] -> the chosen experts' numbers and their weights, both [..., used].

        settle: has the last word on the numbers.
        """
        scores = self._scores(logits)
        ranking = scores.detach()
        if self.selection_bias is not None:
            ranking = ranking + self.selection_bias.to(ranking)
        if self.groups > 1:
            ranking = self._within_groups(ranking)
        chosen = settle(dealt(ranking, self.used) if ranking.is_meta else ranking.topk(self.used, -1).indices)
        return chosen, self.weights(logits, chosen)

    def weights(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The weights [..., used] of experts that are chosen already; chosen: [..., used], or the same for all columns
        of logits."""
        scores = self._scores(logits)
        chosen = chosen.to(scores.device).expand(*scores.shape[:-1], self.used)
        weights = scores.gather(-1, chosen)
        if self.gating == "softmax of chosen":
            weights = weights.softmax(-1)
        elif self.gating == "sigmoid of chosen":
            weights = weights.sigmoid()
        if self.normalised:
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=SMALLEST_SUM)
        return weights * self.scale

    def _scores(self, logits: Tensor) -> Tensor:
        if self.gating == "softmax":
            return logits.softmax(-1)
        if self.gating == "sigmoid":
            return logits.sigmoid()
        if self.gating == "sqrt of softplus":
            return torch.logaddexp(logits, torch.zeros_like(logits)).sqrt()
        return logits

    def _within_groups(self, ranking: Tensor) -> Tensor:
        grouped = ranking.reshape(*ranking.shape[:-1], self.groups, -1)
        best = grouped.topk(2, -1).values.sum(-1).topk(self.groups_used, -1).indices
        shut = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter(-1, best, False)
        return grouped.masked_fill(shut[..., None], -torch.inf).flatten(-2)


def dealt(scores: Tensor, k: int) -> Tensor:
    """Choices [..., k] as different as they can be, for a rehearsal, in which scores [..., n] have no values."""
    rows = torch.arange(math.prod(scores.shape[:-1])).reshape(*scores.shape[:-1], 1)
    return (rows * k + torch.arange(k)) % scores.shape[-1]


@dataclass(frozen=True)
class Experts(Part):
    """y = sum over the token's experts of weight * expert(x). Experts that no token chose are not touched.

    expert: the part of one expert, by its number; its input and output are as wide as x. weigh_first: the weight is on
    what enters the expert instead, expert(weight * x). before: what x goes through on its way to the experts, but not
    to the router. by_token [n_vocab, used]: the experts of each token of the vocabulary, where the router only weighs
    them; the layer must be `WithTokens`.
    """

    router: Part
    routing: Routing
    expert: Callable[[int], Part]
    weigh_first: bool = False
    before: Part | None = None
    by_token: Tensor | None = None

    @property
    def children(self) -> tuple[Part, ...]:
        """One expert stands for all."""
        return (self.router, self.expert(0), *(() if self.before is None else (self.before,)))

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        biased = isinstance(self.router, Linear) and self.router.bias is not None
        name = "ffn_moe_logits_biased" if biased else "ffn_moe_logits"
        read, logits = self.router.build(run, x)
        logits = run.value(name, run.freeze(logits))
        settle = partial(self._settled, run, logits)
        chosen, weights = (t.flatten(0, -2) for t in self.routing.choose(logits, settle))
        before: Operator = Identity()
        if self.before is not None:
            before, x = self.before.build(run, x)
        tokens_in = x.flatten(0, -2)
        total = torch.zeros_like(tokens_in)
        gates = None if run.watch is None else self._announced_gates(run, tokens_in, chosen, weights)
        routes: list[tuple[Tensor, Operator]] = []
        by_weight: list[tuple[Tensor, Operator]] = []
        for number, tokens, rank in routes_of(chosen):
            # an expert's values are those of a few tokens: names would be announced once per expert, each for others
            gate = None if gates is None else _Given(gates[tokens, rank])
            inside = replace(run, watch=gate, taken=Taken(tokens, rank, len(tokens_in)))
            weigh, entering = Scale(weights[tokens, rank, None]), tokens_in[tokens]
            if self.weigh_first:
                expert, y = self.expert(number).build(inside, weigh.apply(entering))
                routes.append((tokens, Sequential([weigh, expert])))
                by_weight.append((tokens, Sequential([Weigh(rank, self.routing.used, entering), expert])))
            else:
                expert, given = self.expert(number).build(inside, entering)
                y = weigh.apply(given)
                routes.append((tokens, Sequential([expert, weigh])))
                by_weight.append((tokens, Weigh(rank, self.routing.used, given)))
            total = total.index_add(0, tokens.to(y.device), y)
        n, shape = x.shape[-1], tuple(x.shape[:-1])
        op: Operator = Sequential([before, Routed(routes, shape, n, n)])
        if run.live("coefficients"):
            choice = chosen.unflatten(0, shape)
            weigh_all = Derivative(partial(self.routing.weights, chosen=choice), logits)
            op = Parallel([op, Sequential([read, weigh_all, Routed(by_weight, shape, self.routing.used, n)])])
        return op, total.reshape(x.shape)

    def _settled(self, run: Run, logits: Tensor, best: Tensor) -> Tensor:
        """The experts that every position takes in the end; best: those that the scores chose."""
        if self.by_token is None or logits.is_meta:
            return run.routed(best)
        chosen = self.by_token[run.shared[TOKENS].cpu()]
        return run.routed(chosen.to(best.device).expand(best.shape))

    def _announced_gates(self, run: Run, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor | None:
        """What the activations of the chosen experts are taken of, [n_tokens, used, n_ff], after it was announced as
        llama.cpp does: of all experts at once, and without the first axis where there is one token. None for experts
        without a gate."""
        found: Tensor | None = None
        for number, tokens, rank in routes_of(chosen):
            gate = _Given(None)
            entering = x[tokens] * weights[tokens, rank, None] if self.weigh_first else x[tokens]
            self.expert(number).build(replace(run, watch=gate), entering)
            if gate.seen is None:
                return None
            if found is None:
                found = gate.seen.new_empty(*chosen.shape, gate.seen.shape[-1])
            found[tokens, rank] = gate.seen
        if found is None:
            return None
        return run.value("ffn_moe_gate", found[0] if len(found) == 1 else found).reshape(found.shape)


class WithTokens(Part):
    """A layer whose tokens choose experts: tells which are those of the rows that are asked for."""

    def __init__(self, layer: Part) -> None:
        self.layer = layer

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.layer,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        run.shared[TOKENS] = run.tokens if run.rows is None else run.tokens[..., list(run.rows)]
        return self.layer.build(run, x)


class _Given:
    """A watch inside one expert: notes the argument of its activation, and puts `gate` in its place if there is one."""

    def __init__(self, gate: Tensor | None) -> None:
        self.gate = gate
        self.seen: Tensor | None = None

    def __call__(self, name: str, x: Tensor) -> Tensor:
        if not name.startswith("ffn_gate-"):
            return x
        self.seen = x
        return x if self.gate is None else self.gate
