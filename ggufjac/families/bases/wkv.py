"""What the RWKV families share: heads of wkv.head_size entries, token shifts, small networks for coefficients."""

from __future__ import annotations

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Linear, Part, Sequential
from ggufjac.families.parts.heads import HeadLayerNorm
from ggufjac.families.parts.tokenshift import LowRank, Squash, TokenShift

#: llama.cpp's own constant for the norm of every head.
HEAD_EPS = 64e-5


class WKV(Family):
    """A family whose state is that of RWKV."""

    @property
    def d_head(self) -> int:
        d_head = self.source.count("wkv.head_size")
        if self.d % d_head:
            raise UserError(f"{self.source.file.path}: {self.d} entries do not make whole heads of {d_head}")
        return d_head

    def expect_shifts(self, n: int) -> None:
        """Raise UserError unless a layer has n token shifts, llama.cpp's condition for the architecture."""
        found = self.source.integer("token_shift_count", 2)
        if found != n:
            raise UserError(
                f"{self.source.file.path}: {self.source.architecture} models have token_shift_count {n}; it is {found}"
            )

    def shifts(self, i: int, n: int) -> list[Tensor]:
        """How far each of layer i's n inputs is drawn to the position before: [d] each, from one tensor."""
        fused = self.source.table(f"blk.{i}.time_mix_lerp_fused.weight", n, 1, 1, self.d)
        return list(fused.reshape(n, self.d))

    def shifted(self, i: int, m: Tensor | LowRank, name: str, n_out: int) -> Part:
        """The projection blk.i.`name` of the shifted input."""
        return Sequential(TokenShift(m), self.linear(f"blk.{i}.{name}", n_out, self.d))

    def low_rank(
        self, i: int, m: Tensor | LowRank, f: Squash, rank: int, names: tuple[str, str, str | None]
    ) -> LowRank:
        """second(f(first(shifted input))) + offset, by the names of first, second and offset."""
        b, (first, second, offset) = f"blk.{i}.", names
        bias = None if offset is None else self.source.vector(f"{b}{offset}.weight", self.d)
        matrix = self.source.matrix(f"{b}{second}.weight", self.d, rank)
        return LowRank(self.shifted(i, m, first, rank), f, Linear(matrix, bias))

    def group_norm(self, i: int) -> Part:
        """The norm of what the heads of layer i read."""
        name = f"blk.{i}.time_mix_ln"
        weight, bias = (self.source.vector(f"{name}.{end}", self.d) for end in ("weight", "bias"))
        return HeadLayerNorm(self.d // self.d_head, weight, bias, HEAD_EPS, f"{name}.bias")
