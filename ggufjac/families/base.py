"""What every family says about itself, and the shorthand in which it says it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.parts import Linear, Part, RMSNorm, Rope, Then, Yarn
from ggufjac.families.source import Source
from ggufjac.quants.tensor import QuantTensor


class Family(ABC):
    """One architecture of GGUF. A subclass gives `layer`, and overrides what differs from the common ground here.

    Everything is read and checked when the family is made, so that a file that does not fit is refused at once.
    """

    architectures: ClassVar[tuple[str, ...]]
    #: How RoPE pairs the entries of a head; llama.cpp's llama_model_rope_type is the authority.
    pairing: ClassVar[str] = "halves"

    #: Whether the family's activation is GELU, which llama.cpp's CPU backend reads from a float16 table.
    gelu: ClassVar[bool] = False

    def __init__(self, source: Source) -> None:
        self.source = source
        self.n_layer = source.count("block_count")
        self.d = source.count("embedding_length")
        self.n_ctx_train = source.count("context_length")
        self.embedding = self._embedding()
        self.n_vocab = self.embedding.n_out
        self.layers = [self.layer(i) for i in range(self.n_layer)]
        self.output_norm = self.norm("output_norm", self.d)
        self.head = self.output_head()

    # --- what a family gives ----------------------------------------------------------------------------------

    @abstractmethod
    def layer(self, i: int) -> Part:
        """The block number i as a part."""

    #: What the embeddings are multiplied by before block 0.
    embedding_scale: float = 1.0

    def output_head(self) -> Part:
        """From the normalised final state to the logits; tied to the embeddings where the file has no head."""
        return Then(self.head_matrix())

    # --- what families share ----------------------------------------------------------------------------------

    def embed(self, ids: NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        """The vectors that enter block 0: [T, d]."""
        x = self.embedding.gather(ids, dtype)
        return x if self.embedding_scale == 1.0 else x * self.embedding_scale

    def head_matrix(self) -> Linear:
        if self.source.has("output.weight"):
            return self.linear("output", self.n_vocab, self.d)
        return Linear(self.embedding, self.source.optional_vector("output.bias", self.n_vocab))

    def linear(self, name: str, n_out: int, n_in: int) -> Linear:
        """`name`.weight with `name`.bias where the file has one."""
        weight = self.source.matrix(f"{name}.weight", n_out, n_in)
        return Linear(weight, self.source.optional_vector(f"{name}.bias", n_out))

    def norm(self, name: str, n: int) -> Part:
        """The RMSNorm called `name`."""
        eps = self.source.number("attention.layer_norm_rms_epsilon")
        return RMSNorm(self.source.vector(f"{name}.weight", n), eps)

    def _embedding(self) -> QuantTensor:
        info = self.source.file.tensors.get("token_embd.weight")
        if info is None:
            raise UserError(f"{self.source.file.path}: the tensor 'token_embd.weight' is missing")
        return self.source.matrix("token_embd.weight", info.shape[0], self.d)

    # --- attention's hyper-parameters -------------------------------------------------------------------------

    def n_head(self, i: int) -> int:
        n = self.source.per_layer("attention.head_count", i)
        if n < 1:
            raise UserError(f"{self.source.file.path}: layer {i} has {n} attention heads")
        return n

    def n_head_kv(self, i: int) -> int:
        n_head = self.n_head(i)
        n = self.source.per_layer("attention.head_count_kv", i, n_head)
        if n < 1 or n_head % n:
            raise UserError(f"{self.source.file.path}: {n_head} heads cannot share {n} key/value heads (layer {i})")
        return n

    def d_key(self, i: int) -> int:
        return self.source.count("attention.key_length", self.d // self.n_head(i))

    def d_value(self, i: int) -> int:
        return self.source.count("attention.value_length", self.d // self.n_head(i))

    def n_ff(self, i: int) -> int:
        return self.source.per_layer("feed_forward_length", i)

    def rope(self, i: int, *, base: float | None = None, scale: float | None = None) -> Rope:
        """The rotation that the file describes; `base` and `scale` override what it says for all layers."""
        source = self.source
        kind = source.text("rope.scaling.type", "linear")
        known = ("none", "linear", "yarn", "longrope")
        if kind not in known:
            raise UserError(f"{source.file.path}: unknown rope.scaling.type {kind!r}; known are {', '.join(known)}")
        factor = source.number("rope.scaling.factor", source.number("rope.scale_linear", 0.0))
        inverse = 1.0 if kind == "none" or factor == 0.0 else 1.0 / factor
        scale = inverse if scale is None else scale
        n_rot = source.count("rope.dimension_count", self.d_key(i))
        if n_rot % 2 or n_rot > self.d_key(i):
            raise UserError(f"{source.file.path}: RoPE cannot rotate {n_rot} of {self.d_key(i)} entries of a head")
        yarn, magnitude = None, source.number("rope.scaling.attn_factor", 1.0)
        if kind == "yarn":
            yarn = self._yarn()
            # llama.cpp first cancels and then applies YaRN's magnitude; this is what is left of it
            magnitude *= max(1.0, 1.0 + 0.1 * math.log(1.0 / scale))
        return Rope(
            n_rot,
            source.number("rope.freq_base", 10000.0) if base is None else base,
            "adjacent" if self.pairing == "adjacent" else "halves",
            scale=scale,
            factors=source.optional_vector("rope_freqs.weight", n_rot // 2),
            magnitude=magnitude,
            yarn=yarn,
        )

    def _yarn(self) -> Yarn:
        """YaRN as llama.cpp sets it for architectures that do not read further keys of their own."""
        return Yarn(self.source.count("rope.scaling.original_context_length", self.n_ctx_train))
