"""graniteswitch: Granite 4.1 with low-rank adapters in the model, which tokens of the prompt switch on."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.source import Source
from ggufjac.families.granite import Granite
from ggufjac.families.parts import Attention, GatedMLP, Linear, Parallel, Part
from ggufjac.families.parts.activations import Ratio, silu
from ggufjac.families.parts.adapters import Switch, SwitchedAdapter


class GraniteSwitch(Granite):
    """Granite Switch 4.1 (3B to 30B): dense Granite with low-rank adapters beside every matrix of its layers, of which
    tokens of the prompt switch one on for the positions that follow; frozen choices, live adapters."""

    architectures = ("graniteswitch",)

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        key = "adapters.token_ids_substitute"
        tokens = source.integers(key, self.n_adapter)
        if outside := [token for token in tokens if not 0 <= token < self.n_vocab]:
            raise UserError(
                f"{source.file.path}: {key} has {outside[0]}; the model's tokens are 0 to {self.n_vocab - 1}"
            )
        self.substitutes = {token: tokens[k - 1] for token, k in self.switch.number.items()}

    @cached_property
    def n_adapter(self) -> int:
        return self.source.count("adapters.count")

    @cached_property
    def switch(self) -> Switch:
        tokens = self.source.integers("adapters.token_ids_activate", self.n_adapter)
        return Switch(tokens, self.source.positive("adapters.router_gain", 15.0))

    def embed(self, ids: NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        entering = [self.substitutes.get(token, token) for token in ids.tolist()]
        return super().embed(np.array(entering, np.int64), dtype)

    def scaled_attention(self, i: int) -> Attention:
        plain, b, d = super().scaled_attention(i), f"blk.{i}.attn_", self.d
        n_q, n_kv = (n * self.d_key(i) for n in (plain.n_head, plain.n_head_kv))  # values are as wide as keys
        return replace(
            plain,
            q=self.switched(plain.q, b + "q", n_q, d),
            k=self.switched(plain.k, b + "k", n_kv, d),
            v=self.switched(plain.v, b + "v", n_kv, d),
            out=self.switched(plain.out, b + "output", d, n_q),
        )

    def gated_mlp(self, i: int, ratio: Ratio = silu, *, kind: str = "", n_ff: int | None = None) -> GatedMLP:
        plain, b, n_ff = super().gated_mlp(i, ratio, kind=kind, n_ff=n_ff), f"blk.{i}.ffn_", n_ff or self.n_ff(i)
        return GatedMLP(
            gate=self.switched(plain.gate, f"{b}gate{kind}", n_ff, self.d),
            up=self.switched(plain.up, f"{b}up{kind}", n_ff, self.d),
            down=self.switched(plain.down, f"{b}down{kind}", self.d, n_ff),
            ratio=ratio,
        )

    def switched(self, plain: Part, name: str, n_out: int, n_in: int) -> Part:
        """A projection with the adapters of this name beside it; the first of them is that of no adapter."""
        n, rank = self.n_adapter + 1, self.source.count("adapters.lora_rank")
        a = self.source.stack(f"{name}.lora_a", n, rank, n_in)
        b = self.source.stack(f"{name}.lora_b", n, n_out, rank)
        return Parallel(plain, SwitchedAdapter(self.switch, n, Linear(a), Linear(b)))
