"""What every head of the layers' attention gives to a functional of the output, and the positions it takes that from.

With its probabilities frozen, what a block of attention writes is a sum over heads h and positions s: P_h[t, s] v_h[s],
through the output projection and whatever stands behind it. From there the residual stream leads to the output past
all later blocks. So with g the functional pulled back along the skips to the write, and from there to what the heads
read, the term of head h and position s is P_h[t, s] <g_h, v_h[s]>, where t is the last position: the skips leave all
others. Over heads and positions, and with what is behind the heads and beside them, the terms add up to what the
functional draws by the paths whose last write it is (`paths.last_writes`). In which tokens these paths begin, a sweep
tells that goes down from what the heads read.

Recurrences with heads are made of the same operator (`Mix`): P is then what the state hands on of earlier values, and
no probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.within.writes import retrace
from ggufjac.operators import Attend, Mix, Operator, Parallel, Residual, Sequential, Whole, built
from ggufjac.quants.memory.threads import kernels_first


@dataclass(frozen=True)
class Route:
    """A way through an operator that leads through heads: what is before the mixing over positions, that mixing, and
    what is behind it."""

    before: Sequential
    mix: Mix
    behind: Sequential


@dataclass(frozen=True)
class MixedHeads:
    """The H heads of one mixing over positions, at one functional of the output.

    layer, part: the write; route: which of its ways this is; first: the number of its first head among the layer's.
    terms [H, T + 1]: by the position that a head reads; the last column has what it reads at none of the network's own
    (blocks of them). weights [H, T]: what the last position multiplies the values of each by. asks [H, d_head]: the
    functional, pulled back to what each head reads at the last position. rest: what else the write gives, told with its
    first way: biases behind the heads, branches beside them.
    """

    layer: int
    part: str
    route: int
    first: int
    terms: Tensor
    weights: Tensor
    asks: Tensor
    rest: float


def routes(op: Operator) -> tuple[Route, ...]:
    """The ways through `op` that lead through heads. Where mixings follow each other, the last one counts."""
    if isinstance(op, Mix):
        return (Route(Sequential([]), op, Sequential([])),)
    if isinstance(op, Whole):
        return routes(op.op)
    if isinstance(op, Parallel):
        return tuple(way for part in op.operators for way in routes(part))
    parts = op.operators if isinstance(op, Sequential) else ()
    for i, part in reversed(list(enumerate(parts))):
        if found := routes(part):
            return tuple(
                Route(Sequential([*parts[:i], way.before]), way.mix, Sequential([way.behind, *parts[i + 1 :]]))
                for way in found
            )
    return ()


def behind_heads(op: Operator) -> tuple[Sequential, ...]:
    """What is behind the heads on every way through `op` that leads through some, whether or not its rules hold the
    probabilities."""
    if isinstance(op, (Mix, Attend)):
        return (Sequential([]),)
    if isinstance(op, Whole):
        return behind_heads(op.op)
    if isinstance(op, Parallel):
        return tuple(way for part in op.operators for way in behind_heads(part))
    parts = op.operators if isinstance(op, Sequential) else ()
    for i, part in reversed(list(enumerate(parts))):
        if found := behind_heads(part):
            return tuple(Sequential([way, *parts[i + 1 :]]) for way in found)
    return ()


def mixed_heads(linear: DetachedMap, functional: Tensor) -> tuple[MixedHeads, ...]:
    """The heads of all layers at a functional of the output [d], in the network's order, under rules that reconstruct.

    One column comes down along the skips; of a layer the values alone are computed anew, and what they write.
    """
    done, found = linear.forward_pass, list[list[MixedHeads]]()
    with kernels_first():
        g = done.final.adjoint(functional[None, None])
        for layer in range(len(done.layers) - 1, -1, -1):
            op, x, asked = built(done.layers[layer]), done.states[layer][None], dict[str, Tensor]()
            g = retrace(op, g, asked.__setitem__)
            here: list[MixedHeads] = []
            for part, lead, branch in branches(op):
                first = sum(len(mixed.terms) for mixed in here)
                here += _of_write(branch, lead, x, asked[part], layer, part, first)
            found.append(here)
    return tuple(mixed for here in reversed(found) for mixed in here)


def branches(op: Operator, lead: tuple[Operator, ...] = ()) -> Iterator[tuple[str, Sequential, Operator]]:
    """Every write on the direct path of a layer, the first one first: its name, what leads to it, its branch."""
    if isinstance(op, Sequential):
        for i, part in enumerate(op.operators):
            yield from branches(part, (*lead, *op.operators[:i]))
    elif isinstance(op, Residual):
        yield from branches(op.skip, lead)
        yield op.name, Sequential(lead), op.branch


def _of_write(
    branch: Operator, lead: Operator, x: Tensor, g: Tensor, layer: int, part: str, first: int
) -> Iterator[MixedHeads]:
    """The heads of a write, from what enters the layer x [1, T, n] and the functional g at the write [1, T', n]."""
    ways, n_tokens = routes(branch), x.shape[-2]
    if not ways:
        return
    x = lead.apply(x, 1.0)
    terms, asks = zip(*(_terms(way, x, g) for way in ways), strict=True)
    rest = float((branch.apply(x, 1.0) * g).sum()) - float(sum(each.sum() for each in terms))
    for i, way in enumerate(ways):
        beyond = terms[i][:, n_tokens:].sum(-1, keepdim=True)
        yield MixedHeads(
            layer,
            part,
            route=i,
            first=first,
            terms=torch.cat((terms[i][:, :n_tokens], beyond), 1),
            weights=last_weights(way.mix)[:, :n_tokens],
            asks=asks[i],
            rest=0.0 if i else rest,
        )
        first += len(terms[i])


def _terms(way: Route, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """By head and what it reads of x, which enters the branch, [H, T']; and the functional at what heads read
    [H, d_head]."""
    n_kv, group = way.mix.p.shape[:2]
    values = way.before.apply(x, 1.0)[0].unflatten(-1, (n_kv, -1))
    asks = way.behind.adjoint(g)[0, -1].unflatten(-1, (n_kv, group, -1))
    worth = torch.einsum("hgd,khd->hgk", asks, values).flatten(0, 1)
    return last_weights(way.mix) * worth, asks.flatten(0, 1)


def last_weights(mix: Mix) -> Tensor:
    """What the last position multiplies values by, [H, T']."""
    last: Tensor = mix.p[:, :, -1]
    return last.flatten(0, 1)
