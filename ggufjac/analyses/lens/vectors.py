"""Directions of tokens in the stream, and control vectors of llama.cpp read through a lens.

The direction of token t at block l is the gradient of its logit by the state that leaves the block, as the lens sees
it: v = J_l^T diag(w) W_U[t], the row t of W_U diag(w) J_l, with w the output norm's weight (and the centring of a
LayerNorm). The norm's factor 1/rms(J_l h) is left out: it depends on the state, and no direction does. So are the
norm's own derivative and what the model does to all logits alike (a factor, soft-capping).

Directions of unrelated tokens have much in common, the mean over all of them: it raises every logit, and changes no
probability. Centred directions are without it: the gradient of the token's logit above the mean logit.

The other way round a vector v at block l raises the logits by W_U diag(w) J_l v, up to the same factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.targets import tokens_named
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.lens.match import LensFacts, opened_lens
from ggufjac.analyses.lens.options import LensVectorsOptions
from ggufjac.analyses.steer.control import exportable
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.lens.unembed import Unembedding
from ggufjac.maps.model import Model


@dataclass(frozen=True)
class LensDirection:
    """A vector in the stream that leaves a block. layer: the block, from 0; length: of the vector; raises: the tokens
    whose logits it raises most through the lens there."""

    layer: int
    length: float
    raises: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class LensVectors(Result):
    """Vectors of some blocks, made of tokens' directions or read from a file.

    model: the file; lens: through which they were made or read; tokens: whose mean direction they are (none: read from
    a file); scale: "unit" or "raw", "" for vectors that were read; centred: whether the mean direction of all tokens is
    off; source: the file that was read, "" where none was; target: the control vector that was written, "" where none
    was; directions: by block.
    """

    kind: ClassVar[str] = "lens-vectors"

    model: ModelFacts
    lens: LensFacts
    tokens: tuple[Piece, ...]
    scale: str
    centred: bool
    source: str
    target: str
    directions: tuple[LensDirection, ...]


def token_directions(
    model: Model,
    lens: Lens,
    tokens: Sequence[int],
    layers: Sequence[int],
    dtype: torch.dtype = torch.float32,
    *,
    centred: bool = False,
) -> dict[int, Tensor]:
    """The directions of tokens at some blocks, {layer: [n, width]}; a later block than all of the lens has the rows of
    W_U diag(w) themselves. centred: above the mean of all tokens."""
    unembedding = Unembedding(model.family, dtype)
    rows = unembedding.rows(tokens)
    if centred:
        rows = rows - unembedding.mean_row()
    return {at: rows if at > lens.layers[-1] else rows @ lens.jacobian(at).to(rows) for at in layers}


def unit(v: Tensor) -> Tensor:
    """Vectors [..., d] at length 1; 0 stays 0."""
    length = v.norm(dim=-1, keepdim=True)
    return v / torch.where(length > 0, length, 1)


def lens_vectors(
    model: Model,
    lens_file: str | Path,
    options: LensVectorsOptions | None = None,
    source: str | Path | None = None,
    progress: Progress = silent,
) -> LensVectors:
    """The directions of tokens through a lens, written to a control vector where the options name one; or, with a
    source, what the vectors of that file raise.

    Raises UserError for tokens, blocks and files that do not exist, and for a lens of another model.
    """
    options = options or LensVectorsOptions()
    if (source is None) == (options.tokens is None):
        raise UserError(
            "give either tokens whose directions are wanted (--token), or a control vector to read (--read)"
        )
    tokens = tokens_named(model, options.tokens, "--token")
    progress.lap("lens")
    lens, facts = opened_lens(lens_file, model, options)
    progress.lap("directions")
    if source is None:
        able = exportable(model, options.layers)[0] if options.export or options.layers is None else options.layers
        found = _made(model, lens, tokens, options, [at for at in able if options.layers or at in lens.jacobians])
    else:
        found = _read(model, lens, source, options)
    if options.export is not None:
        n = model.family.d
        vectors = {layer: v[:n].cpu().float().numpy() for layer, v in found.items()}
        ControlFile(vectors, model.file.architecture).write(options.export)
    speller = Speller(model.vocab)
    model.require_unchanged()
    return LensVectors(
        model=facts_of(model.file),
        lens=facts,
        tokens=tuple(map(speller.piece, tokens)),
        scale=options.scale if source is None else "",
        centred=options.centred and source is None,
        source="" if source is None else str(source),
        target=options.export or "",
        directions=_told(model, lens, found, options, speller),
        arrays={"layers": torch.tensor(list(found)), "directions": torch.stack(list(found.values()))},
    )


def _made(
    model: Model, lens: Lens, tokens: Sequence[int], options: LensVectorsOptions, layers: Sequence[int]
) -> dict[int, Tensor]:
    _require_layers(model, lens, layers)
    means = {}
    for layer, v in token_directions(
        model, lens, tokens, layers, options.values_dtype, centred=options.centred
    ).items():
        mean = (unit(v) if options.scale == "unit" else v).mean(0)
        means[layer] = unit(mean) if options.scale == "unit" else mean
    return means


def _read(model: Model, lens: Lens, source: str | Path, options: LensVectorsOptions) -> dict[int, Tensor]:
    file, d = ControlFile.read(source), model.family.d
    layers = sorted(file.directions) if options.layers is None else options.layers
    missing = [layer for layer in layers if layer not in file.directions]
    if missing:
        raise UserError(f"{source} has no direction of block {missing[0]}; it has {_listed(sorted(file.directions))}")
    _require_layers(model, lens, layers)
    width = next(iter(file.directions.values())).shape[0]
    if width != d:
        raise UserError(f"{source} has directions of {width} entries; the model's stream has {d}")
    return {layer: torch.from_numpy(file.directions[layer].copy()).to(options.values_dtype) for layer in layers}


def _require_layers(model: Model, lens: Lens, layers: Sequence[int]) -> None:
    """Raise UserError for blocks that do not exist or that the lens cannot read; the last one it reads as it is."""
    last = model.family.n_layer - 1
    if not layers:
        raise UserError(f"the lens has no matrix of a block that llama.cpp steers; it has {_listed(lens.layers)}")
    for layer in layers:
        if not 0 <= layer <= last:
            raise UserError(f"there is no block {layer}; the model has blocks 0 to {last}")
        if layer != last and layer not in lens.jacobians:
            raise UserError(f"the lens has no matrix of block {layer}; it has {_listed(lens.layers)}")


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


def _told(
    model: Model, lens: Lens, found: Mapping[int, Tensor], options: LensVectorsOptions, speller: Speller
) -> tuple[LensDirection, ...]:
    """What vectors raise through the lens."""
    dtype = options.values_dtype
    unembedding, decoder = Unembedding(model.family, dtype), Decoder(model.family, dtype)
    reached = lens.transported({layer: v[None] for layer, v in found.items()})
    seen = unembedding.seen(torch.cat([reached[layer] for layer in found]))
    rows = speller.rows(decoder.writes(seen, options.top).ids)
    return tuple(
        LensDirection(layer, float(v.norm()), row) for (layer, v), row in zip(found.items(), rows, strict=True)
    )
