"""mamba, mamba2: models of recurrent layers alone."""

from __future__ import annotations

from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.parts import Named, Part, Residual


class Mamba(StateSpaces):
    """Mamba 1 and Falcon Mamba: selective state spaces alone, with a state of its own for every channel; no attention,
    no MLP. In Falcon Mamba steps, keys and queries are normalised.

    As llama.cpp has it, these norms have no weights.
    """

    architectures = ("mamba",)

    def layer(self, i: int) -> Part:
        return self.mixing(i, self.mamba1(i, self.weightless_norms() if self.normalised else None))

    @property
    def normalised(self) -> bool:
        return self.source.flag("ssm.dt_b_c_rms", False)

    def mixing(self, i: int, mixer: Part) -> Part:
        """x + mixer(norm(x))."""
        norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        return Named("l_out", Residual("ssm", norm, mixer))


class Mamba2(Mamba):
    """Mamba 2, Codestral Mamba: state spaces whose heads decay as a whole, with a gated norm within groups; no
    attention, no MLP."""

    architectures = ("mamba2",)

    def layer(self, i: int) -> Part:
        return self.mixing(i, self.mamba2(i))
