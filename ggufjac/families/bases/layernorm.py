"""What families with LayerNorm instead of RMSNorm share."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Attention, Elementwise, LayerNorm, Part, PlainMLP, Sequential
from ggufjac.families.parts.activations import Ratio, clamp, gelu


class LayerNormFamily(Family):
    """A family whose norms centre their input; every norm has a bias where the file has one."""

    def norm(self, name: str, n: int) -> Part:
        """The LayerNorm called `name`."""
        bias = self.source.optional_vector(f"{name}.bias", n)
        return LayerNorm(self.source.vector(f"{name}.weight", n), bias, self.norm_epsilon, f"{name}.bias")

    def head_norm(self, name: str, n_head: int, d_head: int) -> Part:
        """The LayerNorm called `name` over each of n_head heads, every head with weights of its own."""
        return LayerNorm(self.source.table(f"{name}.weight", n_head, d_head), None, self.norm_epsilon)

    @property
    def norm_epsilon(self) -> float:
        return self.source.number("attention.layer_norm_epsilon")

    def limited(self, plain: Attention, limit: float) -> Attention:
        """The attention with queries, keys and values limited to +-limit, if that is positive."""
        if limit <= 0:
            return plain
        limited = Elementwise(clamp(limit))
        return replace(
            plain, q=Sequential(plain.q, limited), k=Sequential(plain.k, limited), v=Sequential(plain.v, limited)
        )

    def plain_mlp(self, i: int, ratio: Ratio = gelu) -> PlainMLP:
        """down(f(up(x))) of layer i."""
        b, n_ff = f"blk.{i}.", self.n_ff(i)
        return PlainMLP(self.linear(b + "ffn_up", n_ff, self.d), self.linear(b + "ffn_down", self.d, n_ff), ratio)
