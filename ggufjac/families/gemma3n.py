"""gemma3n: the text part of Gemma 3n.

llama.cpp fixes what the files also say: four planes of which the first is the active one, 20 layers with keys and
values of their own, inputs of 256 entries, and sparse gates in the first ten layers.
"""

from __future__ import annotations

from functools import cached_property

from ggufjac.families.bases.hyperparameters import PLAIN_BASE
from ggufjac.families.bases.wide_gemma import WideGemma
from ggufjac.families.parts import (
    Append,
    Copies,
    Elementwise,
    GatedMLP,
    Inside,
    Linear,
    Named,
    NamedSlice,
    Part,
    Residual,
    ResidualAt,
    Rope,
    Scale,
    Sequential,
    Slice,
)
from ggufjac.families.parts.activations import gelu, softcap
from ggufjac.families.parts.altup import Correct, Gather, Predict, Spread
from ggufjac.families.parts.sparsity import LargestEntries

#: One layer in five sees everything.
PERIOD = 5
#: Planes of the stream.
PLANES = 4
#: Layers with keys and values of their own.
OWN = 20
#: Entries of a layer's input.
INPUT = 256
#: The rank of the learned residual.
RANK = 64
#: Layers with sparse gates, and from how many standard deviations above the mean on their entries pass: one in twenty.
SPARSE = 10
DEVIATIONS = 1.6448533535003662


class Gemma3n(WideGemma):
    """Gemma 3n E2B and E4B: four planes of the stream that each layer predicts and corrects (AltUp), learned low-rank
    residuals, inputs of each layer's own, keys and values of earlier layers, gates that are sparse in the first
    layers."""

    architectures = ("gemma3n",)

    @property
    def n_own(self) -> int:
        return OWN

    @property
    def n_input(self) -> int:
        return INPUT

    @property
    def stream(self) -> int:
        # the four planes as predicted, the first of them once more for the layer to work on
        return (PLANES + 1) * self.d

    @property
    def leaving(self) -> int:
        return PLANES * self.d

    def layer(self, i: int) -> Part:
        b, d = f"blk.{i}.", self.d
        read = Sequential(Slice(PLANES * d, self.stream), Named("attn_norm", self.norm(b + "attn_norm", d)))
        after = Named("attn_post_norm", self.norm(b + "post_attention_norm", d))
        ffn_norm = Named("ffn_norm", self.norm(b + "ffn_norm", d))
        post = Named("ffn_post_norm", self.norm(b + "post_ffw_norm", d))
        return Sequential(
            *([self.spread, Append(Slice(0, d))] if i == 0 else []),
            Inside(0, PLANES * d, self.prediction(i), Append(Slice(0, d))),
            *self.opened(i, read),
            self.named("attn_gated", ResidualAt("attn", 0, d, self.attention_on_state(i, read), after)),
            self.named("attn_laurel", ResidualAt("laurel", 0, d, read, self.laurel(i)), Inside(0, d, Scale(2**-0.5))),
            self.named("attn_ffw_laurel_gated", ResidualAt("mlp", 0, d, Slice(0, d), ffn_norm, self.mlp(i), post)),
            Inside(0, self.stream, self.correction(i)),
            NamedSlice("l_out", 0, PLANES * d, Sequential(self.input_write(i), *self.closed()), PLANES),
        )

    # --- the planes -------------------------------------------------------------------------------------------

    def router(self, i: int) -> Part:
        b = f"blk.{i}.altup_router"
        linear = self.linear(b, PLANES, self.d)
        return Sequential(self.norm(f"{b}_norm", self.d), Scale(1 / self.d), linear, Elementwise(softcap(1.0)))

    def prediction(self, i: int) -> Part:
        coefficients = self.linear(f"blk.{i}.altup_predict_coef", PLANES * PLANES, PLANES)
        return self.planes("predictions", Predict(self.router(i), coefficients, PLANES))

    def correction(self, i: int) -> Part:
        coefficients = self.linear(f"blk.{i}.altup_correct_coef", PLANES, PLANES)
        return self.planes("corrected", Correct(self.router(i), coefficients, PLANES))

    @cached_property
    def spread(self) -> Spread:
        """From the embeddings to the planes that enter block 0."""
        return Spread(self.projections("altup_proj"))

    def final_norm(self) -> Part:
        merged = Gather(self.projections("altup_unembd_proj"), self.spread, self.d)
        return Sequential(Named("unembd_merged", merged), super().final_norm())

    def projections(self, name: str) -> list[Linear]:
        """One matrix for every plane but the first."""
        whole, d = Linear(self.source.stack(f"{name}.weight", PLANES - 1, self.d, self.d)), self.d
        return [whole.rows(k * d, (k + 1) * d) for k in range(PLANES - 1)]

    def named(self, name: str, *parts: Part) -> Part:
        """Parts whose first plane llama.cpp knows by a name."""
        return NamedSlice(name, 0, self.d, Sequential(*parts))

    def planes(self, name: str, part: Part) -> Part:
        """A part whose planes llama.cpp knows by a name."""
        return NamedSlice(name, 0, PLANES * self.d, part, PLANES)

    # --- what a layer adds ------------------------------------------------------------------------------------

    def laurel(self, i: int) -> Part:
        """x + norm(R L x) with a low rank."""
        b = f"blk.{i}.laurel_"
        low, high = self.linear(b + "l", RANK, self.d), self.linear(b + "r", self.d, RANK)
        return Named("laurel_out", Residual("low rank", low, high, self.norm(b + "post_norm", self.d)))

    def mlp(self, i: int) -> Part:
        plain = self.gated_mlp(i, gelu)
        gate, name = (plain.gate, "ffn_gate.mul_mat")
        if i < SPARSE:
            gate, name = Sequential(gate, LargestEntries(DEVIATIONS)), "ffn_gate.relu"
        return Named("ffn_out", GatedMLP(gate, plain.up, plain.down, gelu, name))

    def input_write(self, i: int) -> Part:
        """What the input of layer i adds to all planes but the first."""
        b, d = f"blk.{i}.", self.d
        scaled = Scale(self.source.vector(b + "altup_correct_scale.weight", d))
        norm = Named("first_prediction_out", self.norm(b + "post_norm", d))
        return ResidualAt("input", d, PLANES * d, self.gated_input(i, Slice(0, d), scaled), norm, Copies(PLANES - 1))

    # --- positions --------------------------------------------------------------------------------------------

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        if self.window(i) is None:
            return self.plain_rope(i)
        return self.plain_rope(i, base=self.source.positive("rope.freq_base_swa", PLAIN_BASE), scale=1.0)

    def output_head(self) -> Part:
        return self.capped_head(30.0)
