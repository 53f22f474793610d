"""One prompt on one model, made ready for an analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.common.facts import facts_of
from ggufjac.analyses.common.followed import followed_of
from ggufjac.analyses.common.predictions import (
    Prediction,
    Triplet,
    combined_triplets,
    prediction_of,
    token_triplets,
    top_predictions,
)
from ggufjac.analyses.common.stopwatch import Progress, Stopwatch, silent
from ggufjac.analyses.common.targets import spelled, token_named
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.common.words import Word, words_in
from ggufjac.analyses.options import AnalysisOptions, Token
from ggufjac.chat.prompt import Prompt, PromptLike, Turn, turns_of
from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD, LinearMap
from ggufjac.maps.model import Model
from ggufjac.maps.notes import notes_of, text_of
from ggufjac.maps.swept import FEW_GROUPS, GROUPS
from ggufjac.quants.device.choice import described


class Subject:
    """One prompt on one model: its tokens and what they are called, its linear map, what decodes vectors to tokens.

    ids: of the tokens; given: the prompt as it was given; prompt: its text. decoder: one that other prompts of the
    model use as well. The map is made when it is first asked for. Steps are announced and timed with `lap`.

    Raises UserError for a prompt that does not fit the model.
    """

    def __init__(
        self,
        model: Model,
        prompt: PromptLike,
        options: AnalysisOptions,
        progress: Progress = silent,
        decoder: Decoder | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self._watch = Stopwatch(progress)
        self._progress = progress
        self.ids = model.ids_of(prompt)
        self.given = prompt
        self.prompt = text_of(model, prompt, self.ids)
        self.speller = Speller(model.vocab)
        self.decoder = decoder or Decoder(model.family, options.values_dtype)

    def lap(self, name: str) -> None:
        """The next step begins. Raises UserError where the model's file was changed meanwhile."""
        self.model.require_unchanged()
        self._watch.lap(name)

    @property
    def passed(self) -> Callable[[int], None]:
        """Is told how many columns have passed one more layer."""
        return self._progress.passed

    @cached_property
    def linear(self) -> DetachedMap:
        return self.linearized(self.options)

    def linearized(self, options: AnalysisOptions, beside: int = 0) -> DetachedMap:
        """Another map of the prompt; beside: bytes of the budget that others hold."""
        return self.model.linearize_with(self.ids, options, beside, self.passed)

    # --- tokens -----------------------------------------------------------------------------------------------

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The prompt's tokens."""
        return tuple(map(self.speller.piece, self.ids))

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """The words that they make."""
        return words_in(self.speller, self.ids)

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """Of a chat, where the contents of its messages lie among the tokens."""
        if not isinstance(self.given, Prompt):
            return ()
        return turns_of(self.given, [self.speller.raw(i) for i in self.ids])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the prompt."""
        return notes_of(self.model, self.given, self.ids)

    def token(self, named: Token, option: str = "target") -> int:
        """The id of a token that an option names. Raises UserError where there is none."""
        return token_named(self.model, named, option)

    def spelled(self, named: Token, option: str = "target") -> tuple[int, ...]:
        """The ids of the tokens that an option's text is behind the prompt: one, or several. Raises UserError where
        there is none."""
        return spelled(self.model, self.ids, named, option)

    def text_of(self, ids: Sequence[int]) -> str:
        """What tokens that follow others stand for."""
        return b"".join(map(self.speller.raw, ids)).decode("utf-8", "backslashreplace")

    def prediction(self, named: Token | None) -> Prediction:
        """What the model thinks of a token as the next one; None: of the likeliest."""
        return prediction_of(self.linear.logits, self.speller, None if named is None else self.token(named))

    def target(self, named: Token | None) -> Prediction:
        """The token that is explained: the named one, or the likeliest. The forward pass is the next step.

        Raises UserError before it where there is no such token.
        """
        asked = None if named is None else self.token(named)
        self.lap("forward pass")
        return prediction_of(self.linear.logits, self.speller, asked)

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The likeliest next tokens."""
        return top_predictions(self.linear.logits, self.speller)

    # --- vectors ----------------------------------------------------------------------------------------------

    def writes(self, u: Tensor, m: int) -> list[tuple[Piece, ...]]:
        """The m tokens that each left vector of u [n, d] raises most."""
        return self.speller.rows(self.decoder.writes(u, m, self.linear.store).ids)

    def reads(self, v: Tensor, m: int) -> list[tuple[Piece, ...]]:
        """The m tokens whose embeddings are the closest to each right vector of v [n, d]."""
        return self.speller.rows(self.decoder.reads(v, m, self.linear.store).ids)

    def combined_triplets(self, functional: Tensor, svd: SVD, of: LinearMap | None = None) -> tuple[Triplet, ...]:
        """The triplets of the map of all tokens together, decoded; of: another map of the same prompt."""
        return combined_triplets(of or self.linear, functional, svd, self.decoder, self.speller, self.linear.store)

    def token_triplets(self, functional: Tensor, svd: SVD) -> list[tuple[Triplet, ...]]:
        """The triplets of each token's own map, decoded."""
        return token_triplets(self.linear, functional, svd, self.decoder, self.speller)

    def rebuilt(self, *, fast: bool) -> Tensor:
        """What the map makes of the inputs and its constants [d], which should be its output; fast: with fewer columns,
        among which the tokens are dealt out."""
        return self.linear.reconstruction(FEW_GROUPS if fast else GROUPS)

    def facts(self, predictions: tuple[Prediction, ...] | None = None) -> dict[str, Any]:
        """The fields of a `PromptResult`; predictions: where they are not those of the map. Ends the last step.

        Raises UserError where the model's file was changed meanwhile.
        """
        self.model.require_unchanged()
        return {
            "model": facts_of(self.model.file),
            "prompt": self.prompt,
            "turns": self.turns,
            "notes": self.notes,
            "dtype": self.options.dtype_name,
            "rules": str(self.options.linearisation),
            "seed": self.options.seed,
            "predictions": self.predictions if predictions is None else predictions,
            "seconds": self._watch.stop(),
            "device": described(torch.device(self.options.device), self.options.dtype_name),
        }

    def require_numbers(self, *computed: Tensor) -> None:
        """Raise UserError where something of the map is no number, though the pass was fine."""
        if not all(bool(torch.isfinite(values).all()) for values in computed):
            raise self._beyond()

    def _beyond(self) -> UserError:
        dtype = self.options.dtype_name
        more = "" if dtype == "float64" else "; --dtype float64 may hold it"
        return UserError(
            f"{self.model.file.path}: the map of this prompt is beyond {dtype}, though the pass is not{more}"
        )

    def map_facts(self, reconstruction: float) -> dict[str, Any]:
        """The fields of a `MapResult`; reconstruction: the relative error of the map.

        Raises UserError where that is no number.
        """
        self.require_numbers(torch.tensor(reconstruction))
        y = self.linear.output
        if bool(y.any()) and not float(y @ y) > 0:
            raise self._beyond()
        return {**self.facts(), "reconstruction": reconstruction, "llama": followed_of(self.linear)}

    def arrays(self, **named: Tensor) -> dict[str, Tensor]:
        """The prompt's tokens and what else a result keeps."""
        return {"tokens": torch.tensor(self.ids), **named}
