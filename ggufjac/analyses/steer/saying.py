"""Directions that make a model say words: the words' rows of the head, pulled back to a layer.

The maps of an everyday text from a layer to the end of the network, transposed, lead from what a word's logit is read
with (a row of the head behind the output norm, above the mean of all rows) to the direction of the stream at that layer
which raises it: the mean over the text's positions, each with all later ones. It is a lens of one text (Gurnee et al.,
arXiv 2607.15495), read backwards, and takes one sweep. Of several words it is the mean, each at length 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ggufjac.analyses.steer.concepts import is_word
from ggufjac.llamacpp.barevocab import Vocabulary
from ggufjac.maps.lens.unembed import Unembedding
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.maps.sweeps import Passed

#: What words are pulled back through.
EVERYDAY = (
    "The meeting was long and the manager smiled. We talked about the report over lunch. My sister bought a new chair "
    "for her room. He waited at the station for an hour. They spent the whole day at the office. I will never forget "
    "that afternoon at school. The photographs on the wall show an old street. She wrote a letter about her new job. "
    "Everyone was talking about the price of bread. In the evening we walked through the town."
)
#: The layer that is pushed, as a share of the network, where none is named.
DEPTH = 0.7
#: A prompt's own words are those that ordinary text says more rarely than this.
RARE = 0.002


def usual_layer(n_layer: int) -> int:
    return round(DEPTH * (n_layer - 1))


def own_words(ids: Sequence[int], usual: Tensor, vocab: Vocabulary) -> tuple[int, ...]:
    """The tokens of a prompt that are its own: words that ordinary text says rarely, however they are written; usual
    [n_vocab]: how likely every token is there."""
    return tuple(token for token in dict.fromkeys(ids) if _tells(token, usual, vocab))


def _tells(token: int, usual: Tensor, vocab: Vocabulary) -> bool:
    if token >= vocab.n_tokens or vocab.is_special(token):
        return False
    piece = vocab.piece(token)
    if not is_word(piece) or not float(usual[token]) < RARE:
        return False
    # "The" at the beginning is " the" elsewhere
    small = vocab.tokenize(f" {piece.decode('utf-8', 'ignore').strip().lower()}", add_special=False)
    return len(small) != 1 or float(usual[small[0]]) < RARE


def saying(
    model: Model, tokens: Sequence[int], layers: Sequence[int], options: MapOptions, passed: Passed = None
) -> dict[int, Tensor]:
    """The direction of some tokens behind some layers, [leaving] at length 1, by the options' rules.

    Raises UserError for a model whose stream has several planes.
    """
    unembedding = Unembedding(model.family, options.values_dtype)
    rows = unembedding.rows(tokens) - unembedding.mean_row()
    streams = model.linearize_streams(model.tokenize(EVERYDAY), options, passed=passed)
    pulled = streams.pulled(rows, layers)
    return {layer: F.normalize(F.normalize(v, dim=-1).mean(0), dim=-1).cpu() for layer, v in pulled.items()}
