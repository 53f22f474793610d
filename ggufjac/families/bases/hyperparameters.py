"""The hyper-parameters that families share, as llama.cpp reads them for every architecture (llama-model.cpp)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.source import Source
from ggufjac.families.parts import Factors, Rope, Routing, Yarn

#: The base of RoPE where a file names none (Su et al., arXiv 2104.09864), and the longest context that was common when
#: models were trained with it.
PLAIN_BASE, LONGEST_PLAIN = 10000.0, 4096


class Hyperparameters:
    """Sizes, experts, windows and positions of one file, checked; UserError where they do not fit together.

    n_layer: blocks on the way to the next token; d: entries of a hidden state; n_ctx_train: the context length that the
    file claims.
    """

    #: How RoPE pairs the entries of a head; llama.cpp's llama_model_rope_type is the authority.
    pairing: ClassVar[Literal["adjacent", "halves"]] = "halves"
    #: Whether the models of this kind rotate with the base that llama.cpp takes where a file names none.
    plain_base: ClassVar[bool] = False

    def __init__(self, source: Source) -> None:
        self.source = source
        self.n_layer = (source.count("block_count") - self.predictors) * self.loops
        if self.n_layer < 1:
            raise UserError(f"{source.file.path}: nextn_predict_layers leaves no block for the next token")
        self.d = source.count("embedding_length")
        self.n_ctx_train = source.count("context_length")

    @property
    def predictors(self) -> int:
        """How many blocks of the file, the last ones, guess the tokens after the next one."""
        return self.source.integer("nextn_predict_layers", 0)

    @property
    def loops(self) -> int:
        """How many times a text passes through all blocks of the file."""
        return 1

    def tensors_of(self, i: int) -> str:
        """How the names of layer i's tensors begin; a layer that is passed again has those of its block."""
        return f"blk.{i % (self.n_layer // self.loops)}."

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

    @property
    def n_expert(self) -> int:
        """0 in a dense model."""
        return self.source.integer("expert_count", 0)

    def routing(self, i: int) -> Routing:
        """Softmax over all experts and weights divided by their sum, among the groups that the file describes."""
        used = self.source.per_layer("expert_used_count", i, 0)
        if not 1 <= used <= self.n_expert:
            raise UserError(
                f"{self.source.file.path}: a token cannot take {used} of {self.n_expert} experts (layer {i})"
            )
        groups, groups_used = self.source.integer("expert_group_count", 0), 1
        if groups > 1:
            groups_used = self.source.count("expert_group_used_count")
            if self.n_expert % groups or not groups_used < groups or used * groups > groups_used * self.n_expert:
                raise UserError(
                    f"{self.source.file.path}: {used} of {self.n_expert} experts cannot come from {groups_used} of "
                    f"{groups} groups"
                )
        return Routing(used, groups=max(1, groups), groups_used=groups_used)

    def n_ff_expert(self, i: int) -> int:
        """Hidden entries of an expert; without a key of its own what a token's experts share is feed_forward_length."""
        return self.source.per_layer("expert_feed_forward_length", i, 0) or self.n_ff(i) // self.routing(i).used

    def local_window(self, i: int, period: int, default: int = 0, *, global_first: bool = False) -> int | None:
        """The sliding window of layer i: all but every period-th layer have one, if the file gives its size.

        The file can give another period, or say it of each layer. `default`: the size where the file gives none.
        """
        size = self.source.integer("attention.sliding_window", default)
        return size if self.is_local(i, period, global_first=global_first) and size > 0 else None

    def is_local(self, i: int, period: int, *, global_first: bool = False) -> bool:
        """Whether layer i is none of every period-th layers, the last of a period, or the first with `global_first`;
        the file can give another period, or say it of each layer."""
        key = "attention.sliding_window_pattern"
        if self.source.is_array(key):
            return bool(self.source.per_layer(key, i))
        period = self.source.integer(key, period)
        return period == 0 or i % period != (0 if global_first else period - 1)

    def named_window(self, i: int) -> int | None:
        """The sliding window of layer i in a file that must give its size, and say of each layer whether it has one."""
        key = "attention.sliding_window_pattern"
        if not self.source.is_array(key):
            raise UserError(f"{self.source.file.path}: the list of the local layers is missing ({key})")
        size = self.source.count("attention.sliding_window")
        return size if self.source.per_layer(key, i) else None

    def named_indexer(self, i: int) -> bool | None:
        """Whether the file says that layer i has an indexer; None if it does not name the layers."""
        key = "attention.indexer.types"
        if self.source.has_key(key) and not self.source.is_array(key):
            raise UserError(f"{self.source.file.path}: the list of the layers with an indexer is missing ({key})")
        return bool(self.source.per_layer(key, i)) if self.source.has_key(key) else None

    # --- position ---------------------------------------------------------------------------------------------

    @property
    def n_ctx_orig(self) -> int:
        """The context length before it was stretched."""
        return self.source.integer("rope.scaling.original_context_length", 0) or self.n_ctx_train

    @property
    def rope_scaling(self) -> str:
        kind = self.source.text("rope.scaling.type", "linear")
        known = ("none", "linear", "yarn", "longrope")
        if kind not in known:
            raise UserError(
                f"{self.source.file.path}: unknown rope.scaling.type {kind!r}; known are {', '.join(known)}"
            )
        return kind

    @property
    def rope_stretch(self) -> float:
        """How many times longer the context was made; some old files call it rope.scale_linear."""
        factor = self.source.number("rope.scaling.factor", self.source.number("rope.scale_linear", 0.0)) or 1.0
        if factor < 0:
            raise UserError(f"{self.source.file.path}: RoPE cannot be stretched by {factor:g}; the factor is above 0")
        return factor

    @property
    def rope_base(self) -> float:
        """The base of the rotations: llama.cpp's where the file names none. A note says so where that is unusual."""
        source = self.source
        if not source.has_key("rope.freq_base") and not self.plain_base and self.n_ctx_train > LONGEST_PLAIN:
            source.note(
                f"the file names no rope.freq_base: {PLAIN_BASE:g} is taken, as llama.cpp does; models with "
                f"{self.n_ctx_train:,} positions mostly have a larger one, and the result is wrong if this one has"
            )
        return source.positive("rope.freq_base", PLAIN_BASE)

    def plain_rope(
        self,
        i: int,
        *,
        base: float | None = None,
        scale: float | None = None,
        factors: Factors | None = None,
        yarn: Yarn | None = None,
        log_multiplier: float = 0.0,
        offset: int = 0,
        n_rot: int | None = None,
    ) -> Rope:
        """The rotation that the file describes, as llama.cpp reads it for every architecture.

        base, scale and n_rot override what the file says. yarn: the ramp where the file asks for YaRN, if not the usual
        one. log_multiplier: YaRN's mscale_all_dim, for architectures that know it. offset: entries of a head before the
        rotated ones.
        """
        source = self.source
        if n_rot is None:
            n_rot = source.count("rope.dimension_count", self.d_key(i))
        if n_rot % 2 or n_rot > self.d_key(i):
            raise UserError(f"{source.file.path}: RoPE cannot rotate {n_rot} of {self.d_key(i)} entries of a head")
        stretch = 1.0 if self.rope_scaling == "none" else self.rope_stretch
        if self.rope_scaling == "yarn" and not source.has_key("rope.scaling.factor"):
            source.note("rope.scaling.type is yarn, but the file names no rope.scaling.factor: 1 is taken")
        if scale is None:
            scale = 1 / stretch
        magnitude = source.number("rope.scaling.attn_factor", 1.0)
        if self.rope_scaling == "yarn":
            yarn = yarn or Yarn(self.n_ctx_orig)
            magnitude *= _yarn_magnitude(stretch, scale, log_multiplier)
        else:
            yarn = None
        return Rope(
            n_rot,
            self.rope_base if base is None else base,
            self.pairing,
            scale=scale,
            magnitude=magnitude,
            yarn=yarn,
            factors=factors,
            offset=offset,
        )

    def rope_of_local_layers(self, i: int) -> Rope:
        """Where local layers have their own base, but are stretched like the others.

        As llama.cpp has it, the scaling type "none" spares the other layers alone.
        """
        return self.plain_rope(i, base=self.local_base(), scale=1 / self.rope_stretch)

    def local_base(self) -> float:
        """The base of local layers, without a key of its own that of all."""
        return self.source.positive("rope.freq_base_swa", self.rope_base)

    def rope_freqs(self, i: int) -> Factors | None:
        """Llama 3's factors, or LongRoPE's in a file that says it uses that."""
        if self.rope_scaling == "longrope":
            return self.long_factors(i)
        freqs = self._factors("rope_freqs", i)
        return None if freqs is None else Factors(freqs, freqs, self.n_ctx_orig)

    def long_factors(self, i: int) -> Factors:
        """LongRoPE's two sets of factors."""
        return Factors(self._factors("rope_factors_short", i), self._factors("rope_factors_long", i), self.n_ctx_orig)

    def _factors(self, name: str, i: int) -> Tensor | None:
        n_rot = self.source.count("rope.dimension_count", self.d_key(i))
        return self.source.optional_vector(f"{name}.weight", n_rot // 2)


def _yarn_magnitude(stretch: float, scale: float, log_multiplier: float) -> float:
    """What YaRN multiplies cosine and sine by: llama-context.cpp's part, then that of ggml's rope_yarn.

    They cancel to 1 + 0.1 ln(stretch) in the usual case.
    """

    def mscale(multiplier: float) -> float:
        return 1.0 if stretch <= 1 else 1 + 0.1 * multiplier * math.log(stretch)

    factor = mscale(1.0) / (mscale(log_multiplier) if log_multiplier else 1.0)
    return factor / (1 + 0.1 * math.log(stretch)) * (1 + 0.1 * math.log(1 / scale))
