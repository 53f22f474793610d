"""Llama and Qwen2 as one writes them in torch, with weights expanded to float32: what autograd differentiates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.bases.source import Source
from ggufjac.reader import GGUFFile

#: The architectures that it is, and how each pairs the entries that RoPE turns.
PAIRED = {"llama": "adjacent", "qwen2": "halves"}


class Plain:
    """The streams of a batch of copies of a text; detached: norms, probabilities and activated gates are
    constants."""

    def __init__(self, file: GGUFFile, *, detached: bool) -> None:
        source = Source(file)
        self.detached = detached
        self.pairing = PAIRED[file.architecture]
        self.n_layer = source.integer("block_count")
        self.n_head = source.integer("attention.head_count")
        self.n_head_kv = source.integer("attention.head_count_kv", self.n_head)
        self.eps = source.number("attention.layer_norm_rms_epsilon")
        self.base = source.number("rope.freq_base", 10000.0)
        self.weights = {
            name: source.table(name, *info.plain_shape)
            for name, info in file.tensors.items()
            if name.startswith("blk.")
        }

    def streams(self, x: Tensor) -> list[Tensor]:
        """What leaves every block, [B, T, d], for what enters the first one."""
        found = []
        for i in range(self.n_layer):
            x = x + self._attention(i, self._norm(x, f"blk.{i}.attn_norm"))
            x = x + self._mlp(i, self._norm(x, f"blk.{i}.ffn_norm"))
            found.append(x)
        return found

    def _frozen(self, x: Tensor) -> Tensor:
        return x.detach() if self.detached else x

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale = self._frozen(torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))
        return x * scale * self.weights[f"{name}.weight"]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _attention(self, i: int, x: Tensor) -> Tensor:
        heads = {"q": self.n_head, "k": self.n_head_kv, "v": self.n_head_kv}
        with torch.set_grad_enabled(not self.detached):
            q, k = (self._turned(self._heads(i, x, way, heads[way])) for way in "qk")
        v = self._heads(i, x, "v", heads["v"])
        k, v = (y.repeat_interleave(self.n_head // self.n_head_kv, 1) for y in (k, v))
        if self.detached:
            hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            y = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._linear(y.transpose(1, 2).flatten(2), f"blk.{i}.attn_output")

    def _heads(self, i: int, x: Tensor, way: str, n: int) -> Tensor:
        """[B, n, T, d_head]"""
        return self._linear(x, f"blk.{i}.attn_{way}").reshape(*x.shape[:-1], n, -1).transpose(1, 2)

    def _turned(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        rates = self.base ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = (torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rates).float()
        cos, sin = angles.cos(), angles.sin()
        if self.pairing == "adjacent":
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    def _mlp(self, i: int, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.detached):
            gate = F.silu(self._linear(x, f"blk.{i}.ffn_gate"))
        return self._linear(gate * self._linear(x, f"blk.{i}.ffn_up"), f"blk.{i}.ffn_down")
