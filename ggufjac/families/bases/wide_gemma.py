"""What Gemma 3n and the small ones of Gemma 4 (E2B, E4B) share: layers that hand on more than the residual stream.

The later layers have no keys and values of their own: local ones take those of the last local layer that has, global
ones those of the last global layer that has, which are the last two before them. And every layer has an input of its
own, made of the embeddings (a linear map, and a norm) and of the tokens' numbers (a table). So the state is

    (stream | embeddings | values of the local donor | values of the global donor | the input of the layer in hand)

where each lane is there from the layer on that makes it, and the last one only inside its layer. The keys of the donors
are no lanes where they are frozen; where they are live, those of each stand before its values. All as in llama.cpp's
gemma3n.cpp and gemma4.cpp, and in the reuse of layers in llama-model.cpp.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

from ggufjac.errors import UserError
from ggufjac.families.gemma import Gemma
from ggufjac.families.parts import Append, Attention, GatedMLP, Linear, Part, Scale, Sequential, Slice
from ggufjac.families.parts.activations import gelu
from ggufjac.families.parts.heads import HeadNorm
from ggufjac.families.parts.sharing import BorrowedKeys, LaneOf, LeaveKeys
from ggufjac.families.parts.tokens import TokenRows


class WideGemma(Gemma):
    """A subclass says how many layers have keys and values of their own, and how wide the inputs of layers are."""

    @property
    def n_own(self) -> int:
        """How many layers, the first ones, have keys and values of their own."""
        raise NotImplementedError

    @property
    def n_input(self) -> int:
        """How wide the inputs of layers are; 0 where layers have none."""
        raise NotImplementedError

    @property
    def stream(self) -> int:
        """How wide the stream is inside a layer; the other lanes lie behind it."""
        return self.d

    def local(self, i: int) -> bool:
        """Whether layer i sees a window."""
        return self.window(i) is not None

    # --- keys and values --------------------------------------------------------------------------------------

    def donor(self, i: int) -> int:
        """The layer whose keys and values a layer without its own takes."""
        return self.n_own - (2 if self.local(i) else 1)

    @cached_property
    def donors(self) -> tuple[int, ...]:
        """The layers whose keys and values others take."""
        borrowers, path = range(self.n_own, self.n_layer), self.source.file.path
        if borrowers and self.n_own < 2:
            raise UserError(f"{path}: {self.n_own} layers have keys and values of their own; at least 2 must have them")
        for i in borrowers:
            donor = self.donor(i)
            if any(f(i) != f(donor) for f in (self.local, self.n_head_kv, self.d_key, self.d_value)):
                raise UserError(
                    f"{path}: layer {i} cannot take the keys and values of layer {donor}, which has other heads or "
                    "another window"
                )
        return tuple(sorted({self.donor(i) for i in borrowers}))

    def start_of_values(self, donor: int) -> int:
        before = self.stream + (self.d if self.n_input else 0)
        return before + sum(self.n_head_kv(i) * self.d_value(i) for i in self.donors if i < donor)

    def keys_before(self, donor: int) -> int:
        """How wide the lanes of keys are, where there are any, before that of a donor; it stands before its values."""
        return sum(self.n_head_kv(i) * self.d_key(i) for i in self.donors if i < donor)

    def attention_on_state(self, i: int, read: Part) -> Attention:
        """The attention of layer i; read: from the state to what its projections see."""
        donor = i if i < self.n_own else self.donor(i)
        if donor not in self.donors:
            own = self.normalised_attention(i)
            return replace(own, q=Sequential(read, own.q), k=Sequential(read, own.k), v=Sequential(read, own.v))
        b, n_out, start = f"blk.{i}.", self.n_head(i) * self.d_key(i), self.start_of_values(donor)
        keys, n_keys = self.keys_before(donor), self.n_head_kv(i) * self.d_key(i)
        return BorrowedKeys(
            q=Sequential(read, self.queries(i)),
            v=LaneOf(start, start + self.n_head_kv(i) * self.d_value(i), keys + n_keys),
            lane=LaneOf(start, start + n_keys, keys),
            out=self.linear(b + "attn_output", self.d, n_out),
            n_head=self.n_head(i),
            n_head_kv=self.n_head_kv(i),
            scale=1.0,
            rope=self.rope(i),
            window=self.window(i),
            q_norm=self.norm(b + "attn_q_norm", self.d_key(i)),
            name=f"keys of layer {donor}",
        )

    def queries(self, i: int) -> Linear:
        """The projection that gives the queries of layer i; files have those of keys and values where none is used."""
        b, n = f"blk.{i}.", self.n_head(i) * self.d_key(i)
        if i >= self.n_own:
            for name in ("k", "v", "k_norm"):
                self.source.skip(f"{b}attn_{name}.")
        if not self.source.has(b + "attn_qkv.weight"):
            return self.linear(b + "attn_q", n, self.d)
        n_kv = self.n_head_kv(i) * (self.d_key(i) + self.d_value(i))
        return self.linear(b + "attn_qkv", n + n_kv, self.d).rows(0, n)

    def normalised_attention(self, i: int) -> Attention:
        """Attention whose queries, keys and values are normalised per head, the last without a weight; scores are not
        scaled."""
        eps = self.source.number("attention.layer_norm_rms_epsilon")
        plain = self.attention(i, norms="head")
        return replace(plain, v=Sequential(plain.v, HeadNorm(self.n_head_kv(i), eps)), scale=1.0)

    # --- what layers add to the state, and take away again ----------------------------------------------------

    def opened(self, i: int, read: Part) -> list[Part]:
        """What makes the lanes that begin with layer i; read: as for its attention."""
        parts: list[Part] = []
        if i in self.donors:
            own = self.normalised_attention(i)
            parts += [LeaveKeys(f"keys of layer {i}", replace(own, k=Sequential(read, own.k))), Append(read, own.v)]
        return [*parts, Append(*self.layer_input(i))] if self.n_input else parts

    def layer_input(self, i: int) -> list[Part]:
        """From the state to the input of layer i."""
        d, n = self.d, self.n_input
        projection = self.linear("per_layer_model_proj", n * self.n_layer, d).rows(i * n, (i + 1) * n)
        table = self.source.matrix("per_layer_token_embd.weight", self.n_vocab, n * self.n_layer)
        return [
            Slice(self.stream, self.stream + d),
            projection,
            Scale(d**-0.5),
            self.norm("per_layer_proj_norm", n),
            TokenRows(table, i * n, math.sqrt(n)),
            Scale(2**-0.5),
        ]

    def gated_input(self, i: int, *gate: Part) -> Part:
        """proj(gelu(inp_gate(...)) * the input of layer i); gate: from the state to what inp_gate sees."""
        b, n = f"blk.{i}.", self.n_input
        return GatedMLP(
            gate=Sequential(*gate, self.linear(b + "inp_gate", n, self.d)),
            up=Slice(-n, None),
            down=self.linear(b + "proj", self.d, n),
            ratio=gelu,
            name="inp_gate.mul_mat",
        )

    def closed(self) -> list[Part]:
        """What takes away the lane that serves one layer alone."""
        return [Slice(0, -self.n_input)] if self.n_input else []
