"""What steers a text: the maps of a concept prompt to the stream, applied to the text's own vectors.

J^(l)_t leads from the vector of the concept's token t to the stream that leaves block l at the concept's last position,
before any norm; a text that goes on is pushed there and nowhere else. With x_k the vectors of the text's tokens, what
is added at its position p to the stream h_p that leaves block l is

    strength ||h_p|| a_p / (2 ||a_p||),     a_p = sum of J^(l)_{k mod T} x_k over k <= p

(nothing where a_p is 0). Or a is the same everywhere: what the concept prompt's own tokens write at its end, the sum of
J^(l)_k x_k over its own x_k. The concept's constant (what its biases write) has no token and no part in a_p. h_p is the
stream as it arrives, with what was added to earlier positions on its way through attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families import Family
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.swept import relative_error
from ggufjac.maps.within.layers import LayerMaps, LayerPart
from ggufjac.maps.within.sites import LAYER, Site
from ggufjac.network.texts import embedded
from ggufjac.operators import Bias, Identity, Operator, Slice


class StreamMaps(LayerMaps):
    """The layers of a map, each read where the stream leaves it, as it is: no norm, no lens.

    A stream of several planes is read with all of them, `family.leaving` entries.
    """

    def _site(self, place: LayerPart, value: Tensor) -> Site:
        n, width = self.family.leaving, value.shape[-1]
        raw: Operator = Identity() if n == width else Slice(0, n, width)
        return Site(*place, raw, value[-1, :n], *value.shape)


class ConceptMaps:
    """The maps J^(l)_t of one concept prompt for some layers l; what they make of a token is computed once.

    layers: those that were asked for, in ascending order.
    """

    def __init__(self, family: Family, linear: DetachedMap, layers: Sequence[int]) -> None:
        self.family = family
        self.linear = linear
        self.layers = tuple(sorted(set(layers)))
        self.maps = StreamMaps(family, linear)
        sites = self.maps.sites(self.maps.places(self.layers, (LAYER,)))
        self._swept = self.maps.swept(sites[::-1])
        self._known: dict[tuple[int, int], Tensor] = {}

    @property
    def period(self) -> int:
        """How many tokens the concept prompt has."""
        return self.linear.shape[1]

    @cached_property
    def written(self) -> Tensor:
        """What the concept prompt's own tokens write at every layer, the sum of J^(l)_t x_t: [layers, leaving]."""
        n = self.period
        x = self.linear.inputs
        alone = x.new_zeros(n, n, x.shape[1])
        alone[range(n), range(n)] = x
        return self._swept.forward(alone).sum(1).flip(0)

    def seen(self, layer: int, directions: Tensor) -> Tensor:
        """Directions [n, leaving] in the stream that leaves a layer as the output norm sees them, frozen at the concept
        prompt's own stream there: [n, d]."""
        (site,) = LayerMaps(self.family, self.linear).sites([(layer, LAYER)])
        wide = F.pad(directions, (0, site.width - directions.shape[-1]))
        seen: Tensor = site.read(wide[:, None].expand(-1, site.rows, -1))
        return seen

    def misses(self) -> Tensor:
        """||sum_t J^(l)_t x_t + c - h|| / ||h|| at every layer [layers], h being the concept prompt's own stream."""
        h = torch.stack([site.output for site in self._swept.sites]).flip(0)
        rebuilt = self.written + self._swept.constants().flip(0)
        return relative_error(rebuilt, h)

    def terms(self, tokens: Tensor, first: int) -> Tensor:
        """J^(l)_{k mod T} x_k for tokens [n, m] at the positions k = first, first + 1, ...: [layers, n, m, leaving].

        One forward sweep, with a column for every token that was not met at this place before.
        """
        keys = [
            [(k % self.period, token) for k, token in enumerate(row, first)] for row in tokens.tolist()
        ]  # a vector depends on the token alone
        new = list(dict.fromkeys(key for row in keys for key in row if key not in self._known))
        if new:
            vectors = embedded(self.family, torch.tensor([token for _, token in new]), self.linear.dtype)
            columns = self.linear.inputs.new_zeros(len(new), *self.linear.inputs.shape)
            columns[range(len(new)), [t for t, _ in new]] = vectors.to(columns)
            images = self._swept.forward(columns).flip(0)
            self._known.update(zip(new, images.unbind(1), strict=True))
        return torch.stack([torch.stack([self._known[key] for key in row], 1) for row in keys], 1)


class Steering:
    """n texts that are steered by one concept, each at a layer and with a strength of its own (0: left alone); along:
    what is added, by the text's own vectors ("text") or what the concept's tokens write at its end ("end").

    An `Influence` on their reading.
    """

    def __init__(
        self, concept: ConceptMaps, layers: Sequence[int], strengths: Sequence[float], along: str = "text"
    ) -> None:
        self._along = along
        self._concept = concept
        self._at = torch.tensor([concept.layers.index(layer) for layer in layers])
        self._strengths = torch.tensor(list(strengths), dtype=torch.float64)
        self._sums: Tensor | None = None

    def advance(self, tokens: Tensor) -> None:
        if self._along == "end":
            read = 0 if self._sums is None else self._sums.shape[1]
            written = self._concept.written
            ends = written[self._at.to(written.device)][:, None]
            self._sums = ends.expand(-1, read + tokens.shape[1], -1)
            return
        first = 0 if self._sums is None else self._sums.shape[1]
        terms = self._concept.terms(tokens, first)
        own = terms[self._at.to(terms.device), torch.arange(len(tokens), device=terms.device)]
        if self._sums is None:
            self._sums = own.cumsum(1)
        else:
            self._sums = torch.cat((self._sums, self._sums[:, -1:] + own.cumsum(1)), 1)

    @property
    def directions(self) -> Tensor:
        """a_p of every text and position that was read, [n, T, leaving]."""
        assert self._sums is not None
        return self._sums

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        if layer not in self._concept.layers:
            return None
        here = (self._at == self._concept.layers.index(layer)) & (self._strengths != 0)
        if not bool(here.any()):
            return None
        n = self._concept.family.leaving
        a = self.directions[:, -state.shape[-2] :]
        lengths = a.norm(dim=-1, keepdim=True)
        unit = a / torch.where(lengths > 0, lengths, 1)
        factor = (torch.where(here, self._strengths, 0) / 2)[:, None, None].to(state)
        added = torch.zeros_like(state)
        added[..., :n] = factor * state[..., :n].norm(dim=-1, keepdim=True) * unit
        return Bias(added)


class ControlVector:
    """Constant vectors [d] that are added to the stream that leaves some layers, at every position, times a factor.

    So does llama.cpp with a control vector. To a stream of several planes they are added in every plane.

    An `Influence` on the reading of texts.
    """

    def __init__(self, family: Family, directions: Mapping[int, Tensor], factor: float = 1.0) -> None:
        self._family = family
        self._directions = directions
        self._factor = factor

    def advance(self, tokens: Tensor) -> None:
        """Nothing: it does not depend on the text."""

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        direction = self._directions.get(layer)
        if direction is None:
            return None
        planes = self._factor * direction.repeat(self._family.leaving // len(direction))
        added = state.new_zeros(state.shape[-1])
        added[: len(planes)] = planes.to(state)
        return Bias(added)
