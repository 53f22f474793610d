"""Gemma 3, text: sandwich norms, q/k-norm, five local layers to one global, GeGLU, scaled embeddings."""

from __future__ import annotations

import math

import numpy as np

from ggufjac.families.base import Family
from ggufjac.families.parts import Add, Attention, Elementwise, GatedMLP, Named, Part, Then
from ggufjac.families.parts.activations import gelu, softcap


class Gemma3(Family):
    """Local layers see a sliding window and rotate with a base of their own, without the scaling that the global layers
    of the larger models use. The 27B divides its scores by sqrt(d / n_head) instead of sqrt(d_head). The norm weights
    of these files already hold the 1 that Gemma adds."""

    architectures = ("gemma3",)
    gelu = True

    @property
    def embedding_scale(self) -> float:  # type: ignore[override]
        # llama.cpp multiplies by the float32 value of sqrt(d)
        return float(np.sqrt(np.float32(self.d)))

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        d, n_ff = self.d, self.n_ff(i)
        n_head, n_head_kv, d_head = self.n_head(i), self.n_head_kv(i), self.d_key(i)
        local = self.is_local(i)
        local_base = self.source.number("rope.freq_base_swa", 10000.0)
        attention = Attention(
            q=self.linear(b + "attn_q", n_head * d_head, d),
            k=self.linear(b + "attn_k", n_head_kv * d_head, d),
            v=self.linear(b + "attn_v", n_head_kv * d_head, d),
            out=self.linear(b + "attn_output", d, n_head * d_head),
            n_head=n_head,
            n_head_kv=n_head_kv,
            scale=1 / math.sqrt(d // n_head if self.n_layer == 62 else d_head),
            rope=self.rope(i, base=local_base, scale=1.0) if local else self.rope(i),
            window=self.source.count("attention.sliding_window") if local else None,
            q_norm=self.norm(b + "attn_q_norm", d_head),
            k_norm=self.norm(b + "attn_k_norm", d_head),
        )
        mlp = GatedMLP(
            gate=self.linear(b + "ffn_gate", n_ff, d),
            up=self.linear(b + "ffn_up", n_ff, d),
            down=self.linear(b + "ffn_down", d, n_ff),
            ratio=gelu,
        )
        return Then(
            Named(
                "sa_out",
                Add(
                    "attn",
                    Named("attn_norm", self.norm(b + "attn_norm", d)),
                    attention,
                    Named("attn_post_norm", self.norm(b + "post_attention_norm", d)),
                ),
            ),
            Named(
                "l_out",
                Add(
                    "mlp",
                    Named("ffn_norm", self.norm(b + "ffn_norm", d)),
                    mlp,
                    Named("ffn_post_norm", self.norm(b + "post_ffw_norm", d)),
                ),
            ),
        )

    def is_local(self, i: int) -> bool:
        """Whether layer i sees only its window: five of six layers unless the file gives another pattern."""
        if self.source.integer("attention.sliding_window", 0) == 0:
            return False
        if self.source.is_array("attention.sliding_window_pattern"):
            return bool(self.source.per_layer("attention.sliding_window_pattern", i))
        period = self.source.integer("attention.sliding_window_pattern", 6)
        return period == 0 or i % period < period - 1

    def output_head(self) -> Part:
        limit = self.source.number("final_logit_softcapping", 0.0)
        head = self.head_matrix()
        return Then(head, Elementwise(softcap(limit))) if limit else Then(head)
