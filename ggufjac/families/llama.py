"""Llama 2 and 3, Mistral, Ministral, SmolLM and everything else that GGUF files call `llama`."""

from __future__ import annotations

import math

from ggufjac.errors import UserError
from ggufjac.families.base import Family
from ggufjac.families.parts import Add, Attention, GatedMLP, Named, Part, Then
from ggufjac.families.parts.activations import silu


class Llama(Family):
    """Pre-norm blocks, grouped-query attention with RoPE, SwiGLU. The q and k rows of these files are stored for
    adjacent RoPE pairs. Llama 3's frequency scaling comes as the tensor `rope_freqs`."""

    architectures = ("llama",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        if self.source.integer("expert_count", 0) > 0:
            raise UserError(f"{self.source.file.path}: llama models with experts (Mixtral) are not supported")
        b = f"blk.{i}."
        d, n_ff = self.d, self.n_ff(i)
        n_head, n_head_kv, d_head = self.n_head(i), self.n_head_kv(i), self.d_key(i)
        attention = Attention(
            q=self.linear(b + "attn_q", n_head * d_head, d),
            k=self.linear(b + "attn_k", n_head_kv * d_head, d),
            v=self.linear(b + "attn_v", n_head_kv * d_head, d),
            out=self.linear(b + "attn_output", d, n_head * d_head),
            n_head=n_head,
            n_head_kv=n_head_kv,
            scale=1 / math.sqrt(d_head),
            rope=self.rope(i),
        )
        mlp = GatedMLP(
            gate=self.linear(b + "ffn_gate", n_ff, d),
            up=self.linear(b + "ffn_up", n_ff, d),
            down=self.linear(b + "ffn_down", d, n_ff),
            ratio=silu,
        )
        return Then(
            Named("ffn_inp", Add("attn", Named("attn_norm", self.norm(b + "attn_norm", d)), attention)),
            Named("l_out", Add("mlp", Named("ffn_norm", self.norm(b + "ffn_norm", d)), mlp)),
        )
