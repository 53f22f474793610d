"""deci: DeciLM and the Llama-Nemotron models that were made smaller by search, some of whose layers lack a part.

As llama.cpp has it: a layer without heads has an MLP alone, one with heads but no keys a matrix in place of attention,
and one without an MLP is left out as a whole.
"""

from __future__ import annotations

from ggufjac.errors import UserError
from ggufjac.families.llama import Llama
from ggufjac.families.parts import Linear, Named, Part, Residual, Sequential
from ggufjac.families.parts.narrowing import Narrowed


class Deci(Llama):
    """DeciLM 7B, Llama-3.1-Nemotron 51B and Ultra 253B, Llama-3.3-Nemotron Super 49B: llama with heads and MLPs of
    another size in every layer, some without attention, with a matrix in its place, or without both."""

    architectures = ("deci",)

    def layer(self, i: int) -> Part:
        b, heads = f"blk.{i}.", self.source.per_layer("attention.head_count", i)
        if self.n_ff(i) == 0:
            if heads:
                raise UserError(f"{self.source.file.path}: layer {i} has attention and no MLP; llama.cpp drops both")
            return Sequential()
        first: Part = Narrowed()
        if heads:
            norm = Named("attn_norm", self.norm(b + "attn_norm", self.d))
            first = Named("ffn_inp", Residual("attn", norm, self.mixer(i)))
        ffn_norm = Named("ffn_norm", self.norm(b + "ffn_norm", self.d))
        return Sequential(first, Named("l_out", Residual("mlp", ffn_norm, self.gated_mlp(i))))

    def mixer(self, i: int) -> Part:
        """The attention of layer i, or what stands in its place."""
        if self.source.per_layer("attention.head_count_kv", i, self.n_head(i)):
            return self.attention(i)
        return Sequential(Linear(self.source.matrix(f"blk.{i}.attn_output.weight", self.d, self.d)), Narrowed())

    def d_key(self, i: int) -> int:
        """Without a key of its own what follows from the heads of the first layer."""
        return self.source.count("attention.key_length", self.d // self.n_head(0))

    def d_value(self, i: int) -> int:
        return self.source.count("attention.value_length", self.d // self.n_head(0))
