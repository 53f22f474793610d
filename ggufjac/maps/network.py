"""What maps of a whole network have in common, at one position or at many: the pass that they come from."""

from __future__ import annotations

from ggufjac.maps.swept import SweptMap
from ggufjac.network.forward import ForwardPass
from ggufjac.operators import Operator
from ggufjac.operators.walk import coefficient_bytes
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.rules import Rules


class NetworkMap(SweptMap):
    """From the embeddings to final states after the output norm. tokens [T]; forward_pass: where the coefficients come
    from, with the states between the blocks; head: from a final state to the logits."""

    def _of(self, tokens: tuple[int, ...], forward_pass: ForwardPass) -> None:
        """Remember the pass."""
        self.tokens = tokens
        self.forward_pass = forward_pass
        self.head: Operator = forward_pass.head

    @property
    def store(self) -> DeviceWeights | None:
        """Where a device has the weights; None on the CPU, which has the file."""
        return self.forward_pass.run.store

    def _stores(self) -> list[DeviceWeights]:
        # that of operators which are made anew for every sweep is not seen in them
        return super()._stores() if self.store is None else [self.store]

    @property
    def rules(self) -> Rules:
        """By which the network was linearised."""
        return self.forward_pass.run.rules

    @property
    def held_bytes(self) -> int:
        """Memory that the map takes between products."""
        return coefficient_bytes(self.operators) + self.forward_pass.states_bytes
