"""Single heads of attention: the vectors that they read and write, and the tokens in which their terms begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.within.columns import Columns, joined, visit
from ggufjac.maps.within.heads import MixedHeads, Route, branches, last_weights, routes
from ggufjac.operators import Operator, Residual, Sequential, built
from ggufjac.quants.memory.budget import columns_within
from ggufjac.quants.memory.readahead import Readahead
from ggufjac.quants.memory.threads import kernels_first


@dataclass(frozen=True)
class HeadVectors:
    """Of K heads what they write at the last position, led to the output along the skips, [K, d]; and of each the
    functional, pulled back through its values to the state that its write reads, at one position [n]."""

    writes: Tensor
    reads: tuple[Tensor, ...]


def head_vectors(
    linear: DetachedMap, mixed: Sequence[MixedHeads], chosen: Sequence[tuple[int, int]], positions: Sequence[int]
) -> HeadVectors:
    """The vectors of the heads `chosen`, each the number of its mixing and its own there; positions: of what they
    read. A column each climbs along the skips, as many at once as there is room for."""
    step = _at_once(linear)
    pieces = [
        _climb(linear, [(mixed[i], h, s) for (i, h), s in list(zip(chosen, positions, strict=True))[at : at + step]])
        for at in range(0, len(chosen), step)
    ]
    return HeadVectors(torch.cat([w for w, _ in pieces]), tuple(read for _, reads in pieces for read in reads))


def head_origins(linear: DetachedMap, mixed: Sequence[MixedHeads], chosen: Sequence[tuple[int, int]]) -> Tensor:
    """[K, T + 1]: the terms of the heads `chosen` by the token in which their paths begin, constants last.

    One backward sweep, whose block grows by a column per head, for as many heads as there is room for.
    """
    heads = [(mixed[i], h) for i, h in chosen]
    step = _at_once(linear)
    return torch.cat([_descend(linear, heads[at : at + step]) for at in range(0, len(heads), step)])


def _at_once(linear: DetachedMap) -> int:
    return columns_within(linear.room, linear.inputs.numel() * linear.inputs.element_size())


def _climb(linear: DetachedMap, heads: Sequence[tuple[MixedHeads, int, int]]) -> tuple[Tensor, list[Tensor]]:
    """Of heads (their mixing, number, and a position), in this order, the vectors that they write and read."""
    done, columns = linear.forward_pass, list[int]()
    reads: dict[int, Tensor] = {}
    block: Tensor | None = None
    with kernels_first():
        for layer, put_off in enumerate(done.layers):
            mine = [i for i, (mixed, _, _) in enumerate(heads) if mixed.layer == layer]
            if block is None and not mine:
                continue
            op, new = built(put_off), dict[str, Tensor]()
            for part, lead, branch in branches(op):
                met = [i for i in mine if heads[i][0].part == part]
                if not met:
                    continue
                x, ways = lead.apply(done.states[layer][None], 1.0), routes(branch)
                for i in met:
                    reads[i] = _read(ways[heads[i][0].route], *heads[i])
                new[part] = torch.cat([_written(ways[heads[i][0].route], x, heads[i][1]) for i in met])
                columns += met
            block = _past(op, block, new)
        assert block is not None
        writes = done.final.apply(block)[:, -1]
    order = sorted(range(len(columns)), key=columns.__getitem__)
    return writes[order], [reads[i] for i in range(len(heads))]


def _descend(linear: DetachedMap, heads: Sequence[tuple[MixedHeads, int]]) -> Tensor:
    """What each head draws from every token and from constants, in this order [k, T + 1]."""
    met: Columns[int] | None = None
    with kernels_first(), Readahead() as ahead:
        for layer in range(max(mixed.layer for mixed, _ in heads), -1, -1):
            op = visit(linear, layer, ahead)
            met = None if met is None else met.through(op, linear.room)
            for part, lead, branch in branches(op):
                ways = routes(branch)
                for i, (mixed, head) in enumerate(heads):
                    if (mixed.layer, mixed.part) == (layer, part):
                        way = ways[mixed.route]
                        fresh = Columns(_drawn(way, mixed, head), mixed.asks.new_zeros(1), (i,))
                        met = joined(met, fresh.through(way.before, linear.room).through(lead, linear.room))
    assert met is not None
    drawn = torch.cat(((met.block * linear.inputs).sum(-1), met.constants[:, None]), 1)
    return drawn[sorted(range(len(heads)), key=met.names.__getitem__)]


def _written(way: Route, x: Tensor, head: int) -> Tensor:
    """What a head writes at the last position, from what enters its branch: [1, T, n] -> [1, T', n], zero elsewhere."""
    n_kv, group, n_rows, _ = way.mix.p.shape
    values = way.before.apply(x, 1.0)[0].unflatten(-1, (n_kv, -1))[:, head // group]
    read = values.new_zeros(1, n_rows, n_kv * group, values.shape[-1])
    read[0, -1, head] = last_weights(way.mix)[head] @ values
    return way.behind.apply(read.flatten(-2))


def _read(way: Route, mixed: MixedHeads, head: int, position: int) -> Tensor:
    """The functional, through the values of a head, at a position of what enters its branch [n]."""
    n_kv, group, _, n_read = way.mix.p.shape
    ask = mixed.asks.new_zeros(1, n_read, n_kv, mixed.asks.shape[-1])
    ask[0, position, head // group] = mixed.asks[head]
    return way.before.adjoint(ask.flatten(-2))[0, position]


def _drawn(way: Route, mixed: MixedHeads, head: int) -> Tensor:
    """The functional at the values of all positions, past the mixing of one head, [1, T', n]."""
    n_kv, group, _, n_read = way.mix.p.shape
    drawn = mixed.asks.new_zeros(1, n_read, n_kv, mixed.asks.shape[-1])
    drawn[0, :, head // group] = last_weights(way.mix)[head, :, None] * mixed.asks[head]
    return drawn.flatten(-2)


def _past(op: Operator, x: Tensor | None, new: dict[str, Tensor]) -> Tensor | None:
    """x along the skips of `op`; behind it, from each write on, the columns that are new there."""
    if isinstance(op, Sequential):
        for part in op.operators:
            x = _past(part, x, new)
        return x
    if isinstance(op, Residual):
        x = _past(op.skip, x, new)
        columns = [each for each in (x, new.get(op.name)) if each is not None]
        return torch.cat(columns) if columns else None
    return x if x is None else op.apply(x)
