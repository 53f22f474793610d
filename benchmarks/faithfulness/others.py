"""What stands beside the maps: the network asked again without each token, gradients, attention alone, and chance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.faithfulness.case import Case
from benchmarks.faithfulness.quantities import NAMES
from ggufjac.network.forward import propagate, run_of
from ggufjac.network.variants import logits_at
from ggufjac.operators import Mix
from ggufjac.operators.walk import leaves
from ggufjac.rules import PRESETS


def zeroed(case: Case, names: Sequence[str]) -> Tensor:
    """What is lost where a token's vector is 0, each token alone."""
    nothing: frozenset[int] = frozenset()
    values = case.deletion.values([nothing, *(frozenset([t]) for t in range(case.n_tokens))])
    return _lost(values[0], values[1:], names)


def left_out(case: Case, names: Sequence[str]) -> Tensor:
    """What is lost where the prompt is written without a token; those behind it move up."""
    shorter = [[*case.ids[:t], *case.ids[t + 1 :]] for t in range(case.n_tokens)]
    logits = [logits_at(case.model.family, ids, case.model.embed(ids)[None]) for ids in shorter]
    whole = case.quantities.of(case.linear.logits[None])[0]
    return _lost(whole, case.quantities.of(torch.cat(logits)), names)


def _lost(whole: Tensor, without: Tensor, names: Sequence[str]) -> Tensor:
    return (whole - without).T[[NAMES.index(name) for name in names]]


def gradients(case: Case, names: Sequence[str], scales: Sequence[float]) -> Tensor:
    """The quantities' derivative by the inputs, times these; the mean over points `scales` times the inputs.

    With many points this is the integral from nothing to the prompt (Sundararajan et al., arXiv 1703.01365).
    """
    run = run_of(case.ids, attached=True, rules=PRESETS["ordinary"])
    with torch.enable_grad():
        points = (torch.tensor(scales)[:, None, None] * case.inputs).requires_grad_()
        values = case.quantities.of(propagate(case.model.family, run, points).logits[:, 0]).sum(0)
        wanted = [values[NAMES.index(name)] for name in names]
        means = [torch.autograd.grad(value, points, retain_graph=True)[0].mean(0) for value in wanted]
    return (torch.stack(means) * case.inputs).sum(-1)


def rollout(case: Case, names: Sequence[str]) -> Tensor:
    """The attention of all layers multiplied, heads averaged and half of it the stream's own (Abnar and Zuidema, arXiv
    2005.00928): the same for all quantities."""
    spread = torch.eye(case.n_tokens)
    for layer in case.linear.operators:
        for mix in (leaf for leaf in leaves(layer) if isinstance(leaf, Mix)):
            read = mix.p.flatten(-4, -3).mean(-3)  # [Tq, T]
            stay = torch.eye(case.n_tokens)[-len(read) :]
            spread = 0.5 * (read + stay) @ spread
    return spread[-1].expand(len(names), -1)


def random_order(case: Case, names: Sequence[str]) -> Tensor:
    """Chance, the same in every run."""
    generator = torch.Generator().manual_seed(sum(case.ids))
    return torch.randn(case.n_tokens, generator=generator).expand(len(names), -1)
