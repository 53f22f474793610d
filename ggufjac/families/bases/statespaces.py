"""What families with Mamba layers share: the keys and tensors of llama.cpp's two Mamba mixers (mamba-base.cpp)."""

from __future__ import annotations

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Mamba1Mixer, Mamba2Mixer, Part, RMSNorm, ShortMemory


class StateSpaces(Family):
    """A family some of whose layers are recurrent."""

    def recurrent(self, i: int) -> bool:
        """Whether layer i is: the file gives it no key/value heads."""
        return self.source.per_layer("attention.head_count_kv", i, -1) == 0

    def mamba1(self, i: int, norms: tuple[Part, Part, Part] | None = None) -> Mamba1Mixer:
        """Mamba's mixer of layer i; norms: those of dt, B and C."""
        source, b = self.source, f"blk.{i}."
        n, n_state, rank = (source.count(f"ssm.{key}") for key in ("inner_size", "state_size", "time_step_rank"))
        return Mamba1Mixer(
            projection=self.linear(b + "ssm_in", 2 * n, self.d),
            memory=self._memory(i, n),
            coefficients=self.linear(b + "ssm_x", rank + 2 * n_state, n),
            norms=norms,
            step=self.linear(b + "ssm_dt", n, rank),
            a=source.table(b + "ssm_a", n, n_state),
            d=source.vector(b + "ssm_d", n),
            out=self.linear(b + "ssm_out", self.d, n),
        )

    def mamba2(self, i: int) -> Mamba2Mixer:
        """Mamba 2's mixer of layer i, with a norm where the file has one."""
        source, b = self.source, f"blk.{i}."
        n, n_state, n_head, n_group = (
            source.count(f"ssm.{key}") for key in ("inner_size", "state_size", "time_step_rank", "group_count")
        )
        if n % n_head or n_head % n_group:
            raise UserError(
                f"{source.file.path}: {n} channels in {n_head} heads and {n_group} groups do not fit together (ssm.*)"
            )
        n_keys = 2 * n_group * n_state
        norm = b + "ssm_norm.weight"
        return Mamba2Mixer(
            projection=self.linear(b + "ssm_in", 2 * n + n_keys + n_head, self.d),
            memory=self._memory(i, n + n_keys),
            a=source.table(b + "ssm_a", n_head, 1).flatten(),
            d=source.table(b + "ssm_d", n_head, 1).flatten(),
            dt_bias=source.vector(b + "ssm_dt.bias", n_head),
            norm=source.table(norm, n_group, n // n_group) if source.has(norm) else None,
            out=self.linear(b + "ssm_out", self.d, n),
            n_inner=n,
            n_group=n_group,
            n_state=n_state,
            eps=self.rms_eps,
        )

    def weightless_norms(self) -> tuple[Part, Part, Part]:
        """Three RMSNorms without weights."""
        return (RMSNorm(None, self.rms_eps), RMSNorm(None, self.rms_eps), RMSNorm(None, self.rms_eps))

    @property
    def rms_eps(self) -> float:
        return self.source.number("attention.layer_norm_rms_epsilon")

    def _memory(self, i: int, n: int) -> ShortMemory:
        # llama.cpp calls the bias optional in some families, and crashes without it
        name = f"blk.{i}.ssm_conv1d"
        kernel = self.source.table(f"{name}.weight", n, self.source.count("ssm.conv_kernel"))
        return ShortMemory(kernel, self.source.vector(f"{name}.bias", n), f"{name}.bias")
