"""The texts that a lens is fitted over: pieces of documents, or what the model says by itself."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.texts import Reading, Sampling, goes_on

#: Texts that a model says side by side.
AT_ONCE = 16


@dataclass(frozen=True)
class Corpus:
    """texts: token ids of each, in the order in which a fit takes them; described: where they are from."""

    texts: tuple[tuple[int, ...], ...]
    described: str

    def digest(self, n: int) -> str:
        """A hash of the first n texts."""
        told = hashlib.sha256()
        for text in self.texts[:n]:
            told.update(f"{','.join(map(str, text))}\n".encode())
        return told.hexdigest()[:16]


def fewest_tokens(skip: int) -> int:
    """How many tokens a text has at least: a source and a target behind the first ones, and the last, which is none."""
    return skip + 2


def corpus_of(
    model: Model, documents: Iterable[str | Sequence[int]], described: str, *, length: int, skip: int, seed: int = 0
) -> Corpus:
    """Pieces of so many tokens of documents, texts or token ids, one behind the other and then shuffled; a document
    that is shorter is one text by itself. A piece begins as a text does, with BOS where the tokenizer adds it.

    Raises UserError where no document is long enough.
    """
    vocab, found, n, longest = model.vocab, [], 0, 0
    lead = [vocab.bos] if vocab.adds_bos and vocab.bos is not None else []
    step = length - len(lead)
    for document in documents:
        n += 1
        ids = (
            model.ids_of_any(document) if not isinstance(document, str) else vocab.tokenize(document, add_special=False)
        )
        if not isinstance(document, str):
            ids = ids[len(lead) :] if ids[: len(lead)] == lead else ids
        longest = max(longest, len(ids) + len(lead))
        ends = range(step, len(ids) + 1, step) if len(ids) >= step else [len(ids)]
        pieces = (tuple(lead + ids[max(0, end - step) : end]) for end in ends)
        found += [piece for piece in pieces if len(piece) >= fewest_tokens(skip)]
    if not found:
        raise UserError(
            f"{described}: none of {n} documents has {fewest_tokens(skip)} tokens, the fewest of a text with --skip "
            f"{skip} (the longest has {longest}); give longer ones, or skip fewer"
        )
    found = list(dict.fromkeys(found))
    random.Random(seed).shuffle(found)
    return Corpus(tuple(found), described)


def own_words(model: Model, n: int, *, length: int, seed: int = 0, device: str = "cpu") -> Corpus:
    """n texts of so many tokens that the model says by itself, drawn from its own probabilities behind the token that
    begins a text (BOS, or the end of the text before). Raises UserError where there is no such token."""
    vocab = model.vocab
    start = vocab.bos if vocab.bos is not None else vocab.eos
    if start is None:
        raise UserError(f"{model.file.path}: there is no token that begins or ends a text; give a corpus of texts")
    texts: list[tuple[int, ...]] = []
    with torch.no_grad():
        for first in range(0, n, AT_ONCE):
            # always as many side by side, so that the first texts are the same however many are asked for
            seeds = range(seed + first, seed + first + AT_ONCE)
            reading = Reading(model.family, length, device=device)
            begun = torch.full((len(seeds), 1), start)
            said = [begun]
            for step in goes_on(reading, begun, length - 1, Sampling(1.0, seeds=tuple(seeds))):
                said.append(step.tokens[:, None])
            texts += [tuple(row) for row in torch.cat(said, 1).tolist()]
    return Corpus(tuple(texts[:n]), f"what {model.file.path.name} says by itself (seed {seed})")
