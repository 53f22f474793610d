"""A text in whose making two tokens' places in the stream are exchanged, beside the one that the model writes itself.

The swap is the one of Gurnee et al., "Verbalizable Representations Form a Global Workspace in Language Models"
(Transformer Circuits 2026, arXiv 2607.15495): with v_from, v_to the two tokens' lens directions at block l, here of
length 1, and c = pinv([v_from v_to]) h the coordinates of the state h along them (the inner products with the dual
basis, so that what both directions share is not counted twice),

    h' = h + (c_to - c_from) (v_from - v_to),

which has the two coordinates exchanged and leaves all that is orthogonal to both alone. Of directions of one length
c_from - c_to = h . (v_from - v_to) / (1 - v_from . v_to), so that h' is h mirrored: h - 2 (h . u) u with u along
v_from - v_to. Its length stays, and twice swapped is as before.

So what one block exchanges the next would exchange back, the stream carrying it on. To swap at several blocks the
coordinates are therefore held ("clamp", as in the same paper's interventions): beside the swapped text the same tokens
are read by the model that is left alone, and with c0 its coordinates there

    h' = h + [v_from v_to] (swapped c0 - c).

Behind the first swapped block, at the first swapped position, both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.common.predictions import Prediction, prediction_of, top_predictions
from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.lens.exchange import BesideReading, Swap, Swapping
from ggufjac.analyses.lens.match import LensFacts, opened_lens
from ggufjac.analyses.lens.options import RULES, LensSwapOptions
from ggufjac.analyses.lens.vectors import token_directions
from ggufjac.analyses.options import Token
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.model import Model
from ggufjac.network.texts import Influence, Reading, Sampling, goes_on, logits_of_texts

#: Directions whose cosine is above this are one: their difference is what rounding has left.
SAME = 1 - 1e-6


@dataclass(frozen=True)
class SwapLayer:
    """A block behind which coordinates were exchanged. cosine: of the two directions; source, target: the mean
    coordinates that were exchanged, over the prompt's positions that were swapped."""

    layer: int
    cosine: float
    source: float
    target: float


@dataclass(frozen=True)
class SwapText:
    """What the prompt goes on with. text, tokens: the new ones; ended: whether the model came to an end; likelihood:
    mean ln p of the tokens under the model that is left alone, in nats; own: under the one that wrote them."""

    text: str
    tokens: tuple[Piece, ...]
    ended: bool
    likelihood: float
    own: float


@dataclass(frozen=True, kw_only=True)
class LensSwap(PromptResult):
    """One prompt, with two tokens' coordinates exchanged in the stream.

    lens: whose directions they are; source, target: the tokens that are exchanged, each as the model predicts it by
    itself; swapped_source, swapped_target: the same behind the swap. start: the first position that is swapped;
    layers: where; how: "clamp" or "exchange". temperature, top_p: how tokens are drawn. plain: the text of the model by
    itself; swapped: that of the swapped one. price: mean ln p of the swapped text less that of the plain one, both
    under the model by itself, in nats a token. divergence: KL(plain || swapped) of the next token behind the prompt, in
    nats. swapped_predictions: its likeliest ones.
    """

    kind: ClassVar[str] = "lens-swap"

    lens: LensFacts
    source: Prediction
    target: Prediction
    swapped_source: Prediction
    swapped_target: Prediction
    how: str
    start: int
    layers: tuple[SwapLayer, ...]
    temperature: float
    top_p: float
    plain: SwapText
    swapped: SwapText
    price: float
    divergence: float
    swapped_predictions: tuple[Prediction, ...]


def swaps_of(
    model: Model, lens: Lens, pair: tuple[int, int], layers: tuple[int, ...], dtype: torch.dtype
) -> dict[int, Swap]:
    """The swap of two tokens at some blocks. Raises UserError for blocks that the lens has no matrix of, and where both
    tokens have one direction."""
    last = model.family.n_layer - 1
    for layer in layers:
        if layer not in lens.jacobians and layer != last:
            raise UserError(
                f"the lens has no matrix of block {layer}; it has those of {', '.join(map(str, lens.layers))}"
            )
    found = {layer: Swap(*v) for layer, v in token_directions(model, lens, pair, layers, dtype).items()}
    for layer, swap in found.items():
        if not swap.cosine < SAME:
            raise UserError(f"at block {layer} both tokens have the same direction: there is nothing to exchange")
    return found


def lens_swap(
    model: Model,
    prompt: PromptLike,
    lens_file: str | Path,
    source: Token,
    target: Token,
    options: LensSwapOptions | None = None,
    progress: Progress = silent,
) -> LensSwap:
    """Let a prompt go on with the coordinates of two tokens exchanged, and without.

    Raises UserError for tokens, blocks and positions that do not exist, for a token with itself, for a lens of another
    model, and for a text that does not fit the model's context.
    """
    options = options or LensSwapOptions()
    subject = Subject(model, prompt, options, progress)
    pair = subject.token(source, "--from"), subject.token(target, "--to")
    if pair[0] == pair[1]:
        raise UserError(f"--from and --to are one token, {source!r}: exchanged with itself it stays what it is")
    start = _start(options.start, len(subject.ids))
    if len(subject.ids) + options.tokens > model.family.n_ctx_train:
        raise UserError(
            f"the prompt's {len(subject.ids)} tokens and {options.tokens} more do not fit the model's context of "
            f"{model.family.n_ctx_train}"
        )
    subject.lap("lens")
    lens, facts = opened_lens(lens_file, model, options)
    swaps = swaps_of(model, lens, pair, options.layers or lens.layers, options.values_dtype)
    writer = _SwapWriter(subject, options)
    subject.lap("plain text")
    plain = writer.write(None)
    subject.lap("swapped text")
    swapping = Swapping(swaps, start, held=options.how == "clamp")
    swapped = writer.write(swapping)
    subject.lap("likelihoods")
    told = [writer.told(text) for text in (plain, swapped)]
    before, after = plain.logits[0], swapped.logits[0]
    return LensSwap(
        **{**subject.facts(top_predictions(before, subject.speller)), "rules": facts.rules or RULES},
        lens=facts,
        source=prediction_of(before, subject.speller, pair[0]),
        target=prediction_of(before, subject.speller, pair[1]),
        swapped_source=prediction_of(after, subject.speller, pair[0]),
        swapped_target=prediction_of(after, subject.speller, pair[1]),
        how=options.how,
        start=start,
        layers=tuple(SwapLayer(at, swaps[at].cosine, *c.tolist()) for at, c in swapping.met.items()),
        temperature=options.temperature,
        top_p=options.top_p,
        plain=told[0],
        swapped=told[1],
        price=told[1].likelihood - told[0].likelihood,
        divergence=kl_divergence(before, after),
        swapped_predictions=top_predictions(after, subject.speller),
        arrays=subject.arrays(**{"tokens.plain": plain.new, "tokens.swapped": swapped.new}),
    )


def _start(asked: int, n: int) -> int:
    start = asked + n if asked < 0 else asked
    if not 0 <= start < n:
        raise UserError(f"there is no position {asked}; the prompt has {n} tokens, from 0")
    return start


@dataclass(frozen=True)
class _SwapWritten:
    """New tokens [m] and the logits [m, n_vocab] by which they were chosen."""

    new: Tensor
    logits: Tensor
    ended: bool


class _SwapWriter:
    """Lets the prompt go on, and judges what was written."""

    def __init__(self, subject: Subject, options: LensSwapOptions) -> None:
        self._subject, self._options, self._model = subject, options, subject.model
        self._prompt = torch.tensor(subject.ids)
        self._n_ctx = len(subject.ids) + options.tokens

    def write(self, influence: Influence | None) -> _SwapWritten:
        o = self._options
        kind = BesideReading if influence is not None and o.how == "clamp" else Reading
        reading = kind(
            self._model.family, self._n_ctx, o.values_dtype, influence=influence, device=o.device, memory=o.memory
        )
        steps = goes_on(reading, self._prompt[None], o.tokens, Sampling(o.temperature, o.top_p, o.seed), self._ends)
        new, logits = zip(*((step.tokens[0], step.logits[0].cpu()) for step in steps), strict=True)
        return _SwapWritten(torch.stack(new), torch.stack(logits), self._ends(int(new[-1])))

    def told(self, text: _SwapWritten) -> SwapText:
        o, new = self._options, text.new
        (logits,) = logits_of_texts(
            self._model.family,
            torch.cat((self._prompt, new))[None, :-1],
            o.values_dtype,
            first=len(self._prompt) - 1,
            n_ctx=self._n_ctx,
            device=o.device,
            memory=o.memory,
        )
        speller, known = self._subject.speller, self._model.vocab.n_tokens
        return SwapText(
            text=self._subject.text_of([token for token in new.tolist() if token < known]),
            tokens=tuple(map(speller.piece, new.tolist())),
            ended=text.ended,
            likelihood=_mean_ln_p(logits[0].cpu(), new),
            own=_mean_ln_p(text.logits, new),
        )

    def _ends(self, token: int) -> bool:
        return token < self._model.vocab.n_tokens and self._model.vocab.ends_text(token)


def _mean_ln_p(logits: Tensor, tokens: Tensor) -> float:
    return float(logits.double().log_softmax(-1).gather(-1, tokens[:, None]).mean())
