"""Which tokens stand for the concept of a prompt, so that they can be counted in other texts."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.analyses.common.decoding import Decoder
from ggufjac.llamacpp.barevocab import Vocabulary
from ggufjac.maps.detached import DetachedMap
from ggufjac.quants.memory.devices import widened

#: Leading left vectors that are decoded, and tokens of each.
VECTORS, TOKENS_EACH = 4, 3
#: The likeliest next tokens of the concept prompt that count.
PREDICTIONS = 5
#: Tokens that the model says more often than this without any steering are no sign of a concept.
SAID_ANYWAY = 0.01


def concept_tokens(
    linear: DetachedMap, logits: Tensor, usual: Tensor, decoder: Decoder, vocab: Vocabulary, *, seed: int = 0
) -> tuple[int, ...]:
    """The tokens that the leading left vectors of the concept prompt's map write, and those that it predicts.

    logits [n_vocab] of the concept prompt; usual [n_vocab]: how likely every token is, on average, in the text that is
    not steered. Left out are tokens without a letter or of a single one of ASCII, control tokens, and those that the
    text would say anyway; if nothing is left, the concept prompt's first prediction stands alone.
    """
    u = linear.svd(VECTORS, "combined", seed=seed).U
    written = decoder.writes(u, TOKENS_EACH, linear.store).ids.flatten().tolist()
    predicted = logits.topk(min(PREDICTIONS, len(logits))).indices.tolist()

    def tells(token: int) -> bool:
        if token >= vocab.n_tokens or vocab.is_special(token):
            return False
        return is_word(vocab.piece(token)) and float(usual[token]) < SAID_ANYWAY

    return tuple(token for token in dict.fromkeys([*predicted, *written]) if tells(token)) or (predicted[0],)


def is_word(piece: bytes) -> bool:
    """Whether a token's bytes have a letter, and are not a single one of ASCII."""
    text = piece.decode("utf-8", "ignore").strip()
    return any(letter.isalpha() for letter in text) and not (len(text) == 1 and text.isascii())


def mass(logits: Tensor, tokens: tuple[int, ...]) -> Tensor:
    """ln of the probability that the next token is one of these: [..., n_vocab] -> [...] float64 (-inf: of none)."""
    wide = widened(logits)
    return wide[..., torch.as_tensor(tokens, dtype=torch.int64, device=wide.device)].logsumexp(-1) - wide.logsumexp(-1)
