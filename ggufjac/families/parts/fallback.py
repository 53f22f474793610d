"""Parts whose coefficients come from deep inside: their derivative is torch's, of the part alone."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Derivative, Operator
from ggufjac.rules import DETACHED

#: The rules by which what such parts freeze can be live.
INSIDE = ("norm", "activation", "coefficients")


class Differentiated(Part):
    """A part that describes itself with everything frozen (`detached`); where a rule has anything in it live, the
    operator is the derivative of its output by that rule."""

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        if not run.live(*INSIDE):
            return self.detached(run, x)
        frozen, y = self.detached(replace(run, rules=DETACHED), x)
        attached = replace(run, attached=True, watch=None)
        return Derivative(lambda point: self.detached(attached, point)[1], x, frozen), y

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """As `build`, with the coefficients frozen as `run.freeze` says."""
        raise NotImplementedError
