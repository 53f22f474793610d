"""What every family says about itself, and the shorthand in which it says it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.hyperparameters import Hyperparameters
from ggufjac.families.bases.source import Source
from ggufjac.families.parts import (
    Attention,
    Experts,
    GatedMLP,
    Linear,
    Named,
    ParallelBlock,
    Part,
    Residual,
    RMSNorm,
    Rope,
    Routing,
    Sequential,
)
from ggufjac.families.parts.activations import Ratio, gelu, silu
from ggufjac.families.parts.attention import QKNorm
from ggufjac.quants.tensor import QuantTensor


class Family(Hyperparameters, ABC):
    """One architecture of GGUF. A subclass gives `layer`, and overrides what differs from the common ground here.

    Everything is read and checked when the family is made, so that a file that does not fit is refused at once.
    """

    architectures: ClassVar[tuple[str, ...]]
    #: The file's name for the norm before the head.
    output_norm_name: ClassVar[str] = "output_norm"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.embedding = self._embedding()
        self.n_vocab = self.embedding.n_out
        self.layers = [self.layer(i) for i in range(self.n_layer)]
        self.output_norm = self.final_norm()
        self.head = self.output_head()
        for i in range(self.n_layer, source.count("block_count")):  # they guess the tokens after the next one
            source.skip_predictor(i)
        source.skip_towers()
        source.refuse_unread()
        if unasked := source.unasked("freq_base"):
            source.note(f"keys that nobody reads, llama.cpp neither: {', '.join(unasked)}")

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the family's own description, on one line."""
        return " ".join((cls.__doc__ or "").split("\n\n")[0].split())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of any result should know of the file."""
        return tuple(self.source.notes)

    # --- what a family gives ----------------------------------------------------------------------------------

    @abstractmethod
    def layer(self, i: int) -> Part:
        """The block number i as a part."""

    def rope(self, i: int) -> Rope | None:
        """The rotation of layer i's queries and keys; None where the layer has none."""
        return self.plain_rope(i)

    def value_projection(self, i: int) -> str:
        """The end of the name of the projection that gives layer i's values."""
        return "v"

    def window(self, i: int) -> int | None:
        """How many positions a query of layer i sees, itself included; None for all before it."""
        return None

    @property
    def embedding_scale(self) -> float:
        """What the embeddings are multiplied by before block 0."""
        return 1.0

    @property
    def leaving(self) -> int:
        """How many entries of the state that leaves a block are the residual stream, the first ones; a stream of
        several planes has them side by side."""
        return self.d

    @property
    def resumes(self) -> bool:
        """Whether a text can go on from keys and values that were kept; otherwise it is run anew as a whole."""
        return all(layer.resumes for layer in self.layers)

    @property
    def gelu(self) -> bool:
        """Whether GELU is among the activations: llama.cpp's CPU backend reads it from a float16 table."""
        return any(layer.uses(gelu) for layer in self.layers)

    def final_norm(self) -> Part:
        """From the state that leaves a block to the normalised stream that the head reads."""
        return self.norm(self.output_norm_name, self.d)

    def output_head(self) -> Part:
        """From the normalised final state to the logits; tied to the embeddings where the file has no head."""
        return Sequential(self.head_matrix())

    # --- layers that families share ---------------------------------------------------------------------------

    def block(
        self,
        i: int,
        attention: Part,
        mlp: Part,
        *,
        after_attention: Sequence[Part] = (),
        after_mlp: Sequence[Part] = (),
        middle: str = "ffn_inp",
        ffn_norm: Part | None = None,
    ) -> Part:
        """x + attention(norm(x)), then x + mlp(norm(x)), both perhaps with something more before they are added.

        middle: llama.cpp's name for the state between the two. ffn_norm: the norm before the MLP, where its name is
        not the usual one.
        """
        attn_norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        if ffn_norm is None:
            ffn_norm = Named("ffn_norm", self.norm(f"blk.{i}.ffn_norm", self.d))
        return Sequential(
            Named(middle, Residual("attn", attn_norm, attention, *after_attention)),
            Named("l_out", Residual("mlp", ffn_norm, mlp, *after_mlp)),
        )

    def parallel_block(self, i: int, attention: Part, mlp: Part, *, mlp_norm: Part | None = None) -> Part:
        """x + attention(norm(x)) + mlp(norm(x)), the MLP perhaps with a norm of its own."""
        attn_norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        return Named("l_out", ParallelBlock(attn_norm, attention, mlp, mlp_norm))

    def attention(self, i: int, *, norms: Literal["head", "whole"] | None = None) -> Attention:
        """Grouped-query attention of layer i, scaled by 1/sqrt(d_head).

        norms: whether q and k are normalised, over each head or over all heads at once. What else a family does
        differently it replaces (dataclasses.replace).
        """
        b = f"blk.{i}."
        n_head, n_head_kv, d_key, d_value = self.n_head(i), self.n_head_kv(i), self.d_key(i), self.d_value(i)
        q, k, v = self._qkv(i, n_head * d_key, n_head_kv * d_key, n_head_kv * d_value)
        plain = Attention(
            q=q,
            k=k,
            v=v,
            out=self.linear(b + "attn_output", self.d, n_head * d_value),
            n_head=n_head,
            n_head_kv=n_head_kv,
            scale=1 / math.sqrt(d_key),
            rope=self.rope(i),
            window=self.window(i),
        )
        if norms == "head":
            q_norm, k_norm = self.norm(b + "attn_q_norm", d_key), self.norm(b + "attn_k_norm", d_key)
            return replace(plain, q_norm=q_norm, k_norm=k_norm)
        if norms == "whole":
            q_norm = self.norm(b + "attn_q_norm", n_head * d_key)
            k_norm = self.norm(b + "attn_k_norm", n_head_kv * d_key)
            return replace(plain, q=Sequential(q, QKNorm(q_norm)), k=Sequential(k, QKNorm(k_norm)))
        return plain

    def gated_mlp(self, i: int, ratio: Ratio = silu, *, kind: str = "", n_ff: int | None = None) -> GatedMLP:
        """down(f(gate(x)) * up(x)) of layer i; kind: the end of its tensors' names ("_shexp": the shared expert)."""
        b = f"blk.{i}."
        n_ff = self.n_ff(i) if n_ff is None else n_ff
        return GatedMLP(
            gate=self.linear(f"{b}ffn_gate{kind}", n_ff, self.d),
            up=self.linear(f"{b}ffn_up{kind}", n_ff, self.d),
            down=self.linear(f"{b}ffn_down{kind}", self.d, n_ff),
            ratio=ratio,
        )

    def fused_mlp(self, i: int, ratio: Ratio = silu, *, kind: str = "", n_ff: int | None = None) -> GatedMLP:
        """The same where the file has gate and up in one matrix, called ffn_up."""
        b = f"blk.{i}."
        n_ff = self.n_ff(i) if n_ff is None else n_ff
        gate_up = self.linear(f"{b}ffn_up{kind}", 2 * n_ff, self.d)
        down = self.linear(f"{b}ffn_down{kind}", self.d, n_ff)
        return GatedMLP(gate_up.rows(0, n_ff), gate_up.rows(n_ff, 2 * n_ff), down, ratio)

    def experts(
        self, i: int, routing: Routing, n_ff: int, ratio: Ratio = silu, after_up: Sequence[Part] = ()
    ) -> Experts:
        """The mixture of experts of layer i, each a gated MLP with n_ff hidden entries; after_up: elementwise parts."""
        b, d, n = f"blk.{i}.", self.d, self.n_expert
        # its .scale, where there is one, is Gemma 4's and acts on what enters
        weight = self.source.matrix(b + "ffn_gate_inp.weight", n, d)
        router = Linear(weight, self.source.optional_vector(b + "ffn_gate_inp.bias", n))
        if self.source.has(b + "ffn_gate.0.weight"):
            return Experts(router, routing, self._experts_apart(i, n_ff, ratio, after_up))
        if self.source.has(b + "ffn_gate_up_exps.weight"):  # of every expert the gate, then up
            gate = up = self._stack(b + "ffn_gate_up_exps", n, 2 * n_ff, d)
            step, start = 2 * n_ff, n_ff
        else:
            gate, up = self._stack(b + "ffn_gate_exps", n, n_ff, d), self._stack(b + "ffn_up_exps", n, n_ff, d)
            step, start = n_ff, 0
        down = self._stack(b + "ffn_down_exps", n, d, n_ff)

        def expert(e: int) -> Part:
            gates, ups = gate.rows(e * step, e * step + n_ff), up.rows(e * step + start, e * step + start + n_ff)
            return GatedMLP(gates, Sequential(ups, *after_up), down.rows(e * d, (e + 1) * d), ratio)

        return Experts(router, routing, expert)

    def _experts_apart(self, i: int, n_ff: int, ratio: Ratio, after_up: Sequence[Part]) -> Callable[[int], Part]:
        """The experts of layer i in files that have a tensor for each, as those of Mixtral before April 2024."""
        self.source.note(
            "the file has a tensor for every expert, an old form that llama.cpp dropped: it can judge nothing here"
        )
        apart = [
            GatedMLP(
                gate=self.linear(f"blk.{i}.ffn_gate.{e}", n_ff, self.d),
                up=Sequential(self.linear(f"blk.{i}.ffn_up.{e}", n_ff, self.d), *after_up),
                down=self.linear(f"blk.{i}.ffn_down.{e}", self.d, n_ff),
                ratio=ratio,
            )
            for e in range(self.n_expert)
        ]
        return apart.__getitem__

    # --- tensors ----------------------------------------------------------------------------------------------

    def embed(self, ids: NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        """The vectors that enter block 0: [T, d]."""
        x = self.embedding.gather(ids, dtype)
        return x if self.embedding_scale == 1.0 else x * self.embedding_scale

    def head_matrix(self) -> Linear:
        """The matrix that decodes a normalised state to logits."""
        if self.source.has("output.weight"):
            self._check_head()
            return self.linear("output", self.n_vocab, self.d)
        return Linear(self.embedding, self.source.optional_vector("output.bias", self.n_vocab), "output.bias")

    def _check_head(self) -> None:
        rows = self.source.file.tensors["output.weight"].rows
        if rows != self.n_vocab:
            raise UserError(
                f"{self.source.file.path}: output.weight has {rows} rows and the embeddings have {self.n_vocab}; both "
                "need one for every token, and llama.cpp refuses this file too"
            )

    def linear(self, name: str, n_out: int, n_in: int) -> Linear:
        """`name`.weight with `name`.bias and `name`.scale where the file has them."""
        weight = self.source.matrix(f"{name}.weight", n_out, n_in)
        return Linear(weight, self.source.optional_vector(f"{name}.bias", n_out), scale=self.scale_of(name))

    def norm(self, name: str, n: int) -> Part:
        """The RMSNorm called `name`."""
        eps = self.source.number("attention.layer_norm_rms_epsilon")
        return RMSNorm(self.source.vector(f"{name}.weight", n), eps)

    def _embedding(self, name: str = "token_embd.weight") -> QuantTensor:
        return self.source.matrix_of_rows(name, self.d)

    def _qkv(self, i: int, n_q: int, n_k: int, n_v: int) -> tuple[Linear, Linear, Linear]:
        """The three projections of layer i, which may come as one matrix."""
        fused = f"blk.{i}.attn_qkv"
        if self.source.has(f"{fused}.weight"):
            whole = self.linear(fused, n_q + n_k + n_v, self.d)
            return whole.rows(0, n_q), whole.rows(n_q, n_q + n_k), whole.rows(n_q + n_k, n_q + n_k + n_v)
        names = ("q", n_q), ("k", n_k), (self.value_projection(i), n_v)
        q, k, v = (self.linear(f"blk.{i}.attn_{x}", n, self.d) for x, n in names)
        return q, k, v

    def _stack(self, name: str, n: int, n_out: int, n_in: int) -> Linear:
        """n matrices with their biases and scales where the file has them, one below the other."""
        weight = self.source.stack(f"{name}.weight", n, n_out, n_in)
        bias, scale = f"{name}.bias", self.scale_of(name, n)
        return Linear(
            weight,
            self.source.table(bias, n, n_out).flatten() if self.source.has(bias) else None,
            scale=None if scale is None else scale.repeat_interleave(n_out),
        )

    def scale_of(self, name: str, n: int = 1) -> Tensor | None:
        """What the products with n matrices are multiplied by: NVFP4's second scale.

        The scale of the activations beside it belongs to arithmetic in four bits, which is not done here.
        """
        self.source.skip(f"{name}.input_scale")
        return self.source.optional_vector(f"{name}.scale", n)
