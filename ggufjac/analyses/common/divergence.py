"""How far one prediction is from another."""

from __future__ import annotations

from torch import Tensor

from ggufjac.quants.memory.devices import widened


def kl_divergence(p: Tensor, q: Tensor) -> float:
    """KL(p || q) in nats, of logits [..., n_vocab]; the mean over leading dimensions.

    Heads may be padded to different lengths; what both have is compared.
    """
    n = min(p.shape[-1], q.shape[-1])
    one, other = (widened(logits[..., :n]).log_softmax(-1) for logits in (p, q))
    return float((one.exp() * (one - other)).sum(-1).mean())
