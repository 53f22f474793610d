"""Fitting a lens: the mean Jacobian of many texts, which grows text by text and survives whatever ends it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from ggufjac import atomic
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.lens.corpus import Corpus
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens, write_lens, write_state
from ggufjac.maps.lens.lens import Lens, LensOrigin, LensSum
from ggufjac.maps.model import Model
from ggufjac.readable import storable
from ggufjac.reader.fingerprint import fingerprint
from ggufjac.registry.lock import locked

#: Is shown the sum that is there at first and behind every text, and how many texts there will be.
Told = Callable[[LensSum, int], None]
#: The Jacobians of texts, by block, in the order of the texts; each is computed no earlier than the first is asked for.
Jacobians = Callable[[Sequence[tuple[int, ...]]], Generator[dict[int, torch.Tensor], None, None]]


def text_jacobians(
    model: Model, text: tuple[int, ...], options: LensFitOptions, progress: Progress = silent
) -> dict[int, torch.Tensor]:
    """The mean Jacobians of one text, by block.

    Sources and targets lie at the positions from `skip` on, the last one left out. Nothing at that one is asked for, so
    it is not run at all.
    """
    streams = model.linearize_streams(text[:-1], options, options.skip, progress.passed)
    return streams.jacobians(chosen_layers(model, options))


def chosen_layers(model: Model, options: LensFitOptions) -> tuple[int, ...]:
    """The blocks that are fitted: all but the last, or those that are asked for. Raises UserError for others."""
    n = model.family.n_layer
    if options.layers is None:
        return tuple(range(n - 1))
    for layer in options.layers:
        if not 0 <= layer < n - 1:
            raise UserError(
                f"block {layer} has no matrix to fit; those of 0 to {n - 2} have (the last block is read as it is)"
            )
    return tuple(sorted(set(options.layers)))


def fit(
    model: Model,
    corpus: Corpus,
    options: LensFitOptions | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
    told: Told = lambda _, __: None,
    jacobians: Jacobians | None = None,
) -> Lens:
    """Fit a lens over the first `prompts` texts of a corpus.

    out: where the sum and the count are written behind every text, and the lens at the end; a fit of the same model,
    texts and settings that is there already is gone on with. jacobians: what computes the texts (None: this process).
    Raises UserError where what is there is another lens, and where another process is fitting it.
    """
    options = options or LensFitOptions()
    jacobians = jacobians or _here(model, options, progress)
    n = min(options.prompts, len(corpus.texts))
    origin = LensOrigin(
        model=storable(model.file.path.name),
        architecture=model.file.architecture,
        fingerprint=fingerprint(model.file),
        rules=str(options.linearisation),
        skip=options.skip,
        length=options.length,
        corpus=corpus.described,
    )
    if out is None:
        return _fitted(model, corpus, options, LensSum(origin), n, None, progress, told, jacobians)
    atomic.require_writable(out)
    path = Path(out)
    with locked(path.with_name(f".{path.name}.lock"), str(out), "fitted"):
        begun = load_lens(path) if path.exists() else None
        if begun is not None:
            _require_same(begun, origin, corpus, model, options, out)
            origin = replace(origin, digest=begun.origin.digest)
        lens = _fitted(model, corpus, options, LensSum(origin, begun), n, path, progress, told, jacobians)
        write_lens(lens, path)
        return lens


def _fitted(
    model: Model,
    corpus: Corpus,
    options: LensFitOptions,
    state: LensSum,
    n: int,
    path: Path | None,
    progress: Progress,
    told: Told,
    jacobians: Jacobians,
) -> Lens:
    progress.lap("fitting")
    told(state, n)
    with closing(jacobians(corpus.texts[state.n : n])) as found:
        while state.n < n and not _settled(state, options):
            model.require_unchanged()
            with torch.no_grad():
                state.add(next(found))
            state.origin = replace(state.origin, digest=corpus.digest(state.n))
            if path is not None and state.n < n:
                write_state(state, path)
            told(state, n)
    return state.lens()


def _here(model: Model, options: LensFitOptions, progress: Progress) -> Jacobians:
    """What computes one text after the other in this process."""

    def jacobians(texts: Sequence[tuple[int, ...]]) -> Generator[dict[int, torch.Tensor], None, None]:
        for text in texts:
            yield text_jacobians(model, text, options, progress)

    return jacobians


def _settled(state: LensSum, options: LensFitOptions) -> bool:
    """Whether the standard error of every block is as small as was asked for."""
    if options.until is None or state.n < 2:
        return False
    error = state.lens().largest_error
    return not math.isnan(error) and error <= options.until


def _require_same(
    begun: Lens, origin: LensOrigin, corpus: Corpus, model: Model, options: LensFitOptions, out: str | Path
) -> None:
    """Raises UserError where a lens that is there cannot be gone on with."""
    for name in ("fingerprint", "rules", "skip", "length"):
        there, asked = getattr(begun.origin, name), getattr(origin, name)
        if there != asked:
            shown = ("another file's", "this file's") if name == "fingerprint" else (repr(there), repr(asked))
            what = "model" if name == "fingerprint" else name
            raise UserError(
                f"{out} is a lens with another {what} ({shown[0]}; asked for is {shown[1]}); name another file, or "
                "remove this one"
            )
    if begun.layers != chosen_layers(model, options):
        raise UserError(f"{out} is a lens of other blocks; name another file, or remove this one")
    if begun.origin.digest != corpus.digest(begun.n_prompts):
        raise UserError(f"{out} is a lens of other texts; name another file and merge the two, or remove this one")
