"""Directions of a concept in the stream behind a layer, by every method that has a fixed one.

- pairs mean, pca, map: of ten positive and ten negative lines, as `ggufjac steer --positive --negative` makes them;
- prompt state: the stream at the concept prompt's last position (without biases that is what its maps write there, the
  sum of J x), alone and less the mean of the negative lines' states;
- left, right: singular vectors of the concept prompt's cumulative map, and of its map from the layer to the output;
  the leading one, or of eight the one that says the concept's two words most;
- words: rows of the head, as an everyday text's maps pull them back from the end to the layer (a lens of one text): of
  the two words that name the concept, or of the concept prompt's own rare words;
- random: as a floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.steer.concepts import Concept, Material
from ggufjac.analyses.steer.concepts import is_word
from ggufjac.analyses.steer.contrast import contrast_of
from ggufjac.analyses.steer.influences import StreamMaps
from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.lens.unembed import Unembedding
from ggufjac.maps.linear import LinearMap
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.maps.within.sites import LAYER

#: Singular triplets among which the one that says a concept's words is sought.
TRIPLETS = 8
#: Of the prompt's own words those count that an ordinary text says more rarely than this.
RARE = 0.002
#: Rules of the maps by which words are pulled back.
RULES = "rlens"


class Directions:
    """Directions [width] of one concept behind one layer of a model, by method; usual [n_vocab]: how likely every token
    is in ordinary text."""

    def __init__(self, model: Model, material: Material, layer: int, usual: Tensor) -> None:
        self.model, self.layer, self.usual = model, layer, usual
        self.negative = [model.tokenize(text) for text in material.negative]
        self.everyday = model.tokenize(" ".join(material.negative))
        self.unembedding = Unembedding(model.family)

    def of(self, concept: Concept, methods: Sequence[str]) -> dict[str, Tensor]:
        self.written = "pairs map" in methods
        makers: dict[str, Callable[[Concept], dict[str, Tensor]]] = {
            "pairs": self._pairs,
            "prompt state": self._states,
            "left": self._left,
            "right": self._right,
            "words": self._words,
            "random": self._random,
        }
        found: dict[str, Tensor] = {}
        for name, make in makers.items():
            if any(method.startswith(name) for method in methods):
                found |= make(concept)
        return {method: found[method] for method in methods if method in found}

    def _pairs(self, concept: Concept) -> dict[str, Tensor]:
        positive = [self.model.tokenize(text) for text in concept.positive]
        options = MapOptions(rules="lrp")
        contrast = contrast_of(self.model, positive, self.negative, "mean", options, written=self.written)
        return {f"pairs {kind}": contrast.directions(kind)[self.layer] for kind in contrast.kinds}

    def _states(self, concept: Concept) -> dict[str, Tensor]:
        h = self._last(self.model.tokenize(concept.prompt))
        return {"prompt state": h, "prompt state less neutral": h - self._neutral}

    def _last(self, ids: Sequence[int]) -> Tensor:
        state: Tensor = self.model.run(list(ids)).states[self.layer + 1][-1, : self.model.family.leaving]
        return state

    @cached_property
    def _neutral(self) -> Tensor:
        return torch.stack([self._last(ids[:-1]) for ids in self.negative]).mean(0)

    def _left(self, concept: Concept) -> dict[str, Tensor]:
        linear = self.model.linearize_with(concept.prompt, MapOptions())
        maps = StreamMaps(self.model.family, linear)
        places = maps.places((self.layer,), (LAYER,))
        u = maps.spectra(places, TRIPLETS, tolerance=1e-2)[0].u[0]
        return {"left, leading": u[0], "left, of the words": _most(u, u @ self._pulled(concept.named(self.model)))}

    def _right(self, concept: Concept) -> dict[str, Tensor]:
        linear = self.model.linearize_with(concept.prompt, MapOptions())
        done, n = linear.forward_pass, self.layer + 1
        svd = LinearMap(done.states[n], (*done.layers[n:], done.final), linear.output).svd(TRIPLETS, tolerance=1e-2)
        weight = self.model.family.head_matrix().weight
        head = weight.gather(np.asarray(concept.named(self.model), np.int64), torch.float32).mean(0)
        # one vector for all positions but the first
        v = svd.V[:, 1:].sum(1)
        return {"right, leading": v[0], "right, of the words": _most(v, svd.U @ head)}

    def _words(self, concept: Concept) -> dict[str, Tensor]:
        own = [t for t in dict.fromkeys(self.model.tokenize(concept.prompt)) if self._tells(t)]
        return {"words, named": self._pulled(concept.named(self.model)), "words of the prompt": self._pulled(own)}

    def _tells(self, token: int) -> bool:
        return is_word(self.model.vocab.piece(token)) and float(self.usual[token]) < RARE

    @cached_property
    def _mean_row(self) -> Tensor:
        return self.unembedding.mean_row()

    @cached_property
    def _streams(self) -> TextStreams:
        return self.model.linearize_streams(self.everyday, MapOptions(rules=RULES))

    def _pulled(self, tokens: Sequence[int]) -> Tensor:
        rows = self.unembedding.rows(tokens) - self._mean_row
        mean: Tensor = F.normalize(self._streams.pulled(rows, (self.layer,))[self.layer], dim=-1).mean(0)
        return mean

    def _random(self, concept: Concept) -> dict[str, Tensor]:
        seed = sum(map(ord, concept.name))
        return {"random": torch.randn(self.model.family.leaving, generator=torch.Generator().manual_seed(seed))}


def _most(vectors: Tensor, says: Tensor) -> Tensor:
    at = int(says.abs().argmax())
    return vectors[at] * says[at].sign()
