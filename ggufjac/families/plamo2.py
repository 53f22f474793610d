"""plamo2: PLaMo 2, whose layers are Mamba or attention.

llama.cpp fixes the size from which the steps are computed (64, or a sixteenth of the embedding length if that is more),
and reads several norms by names without ".weight". It applies no control vector to these models.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.parts import Named, Part, Plamo2Mixer, Residual, RMSNorm, Sequential, ShortMemory


class Plamo2(StateSpaces):
    """PLaMo 2 (1B, 2B, 8B): Mamba with heads in every second layer, attention with queries and keys normalised per
    head in the others; SwiGLU; norms before and after both."""

    architectures = ("plamo2",)

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        norm, ffn_norm = self.norm(b + "attn_norm", self.d), Named("ffn_pre_norm", self.norm(b + "ffn_norm", self.d))
        after = Named("attn_post_norm", self._bare_norm(b + "post_attention_norm", self.d))
        after_mlp = Named("ffn_post_norm", self._bare_norm(b + "post_ffw_norm", self.d))
        mixer = self._mamba(i) if self.recurrent(i) else Named("attn_out", self._attention(i))
        return Sequential(
            Named("attn_residual", Residual("attn", norm, mixer, after)),
            Named("ffn_residual", Residual("mlp", ffn_norm, self.fused_mlp(i), after_mlp)),
        )

    def _attention(self, i: int) -> Part:
        b, n = f"blk.{i}.", self.d_key(i)
        q_norm = RMSNorm(self.source.table(b + "attn_q_norm.weight", self.n_head(i), n), self.rms_eps)
        k_norm = RMSNorm(self.source.table(b + "attn_k_norm.weight", self.n_head_kv(i), n), self.rms_eps)
        return replace(self.attention(i), q_norm=q_norm, k_norm=k_norm, scale=self.d_value(i) ** -0.5)

    def _mamba(self, i: int) -> Part:
        source, b = self.source, f"blk.{i}."
        n, n_state, n_head = (source.count(f"ssm.{key}") for key in ("inner_size", "state_size", "time_step_rank"))
        if n % n_head:
            raise UserError(f"{source.file.path}: {n} channels do not fit into {n_head} heads (ssm.*)")
        rank = max(64, self.d // 16)
        norms = [(b + f"ssm_{name}_norm", size) for name, size in (("b", n_state), ("c", n_state), ("dt", rank))]
        kernel = source.table(b + "ssm_conv1d.weight", n, source.count("ssm.conv_kernel"))
        return Plamo2Mixer(
            projection=self.linear(b + "ssm_in", 2 * n, self.d),
            memory=ShortMemory(kernel, None),
            coefficients=self.linear(b + "ssm_x", rank + 2 * n_state, n),
            norms=(self._bare_norm(*norms[0]), self._bare_norm(*norms[1]), self._bare_norm(*norms[2])),
            step=self.linear(b + "ssm_dt", n_head, rank),
            a=source.vector(b + "ssm_a", n_head),
            d=source.vector(b + "ssm_d", n_head),
            out=self.linear(b + "ssm_out", self.d, n),
            n_state=n_state,
        )

    def _bare_norm(self, name: str, n: int) -> RMSNorm:
        return RMSNorm(self.source.vector(name, n), self.rms_eps)
