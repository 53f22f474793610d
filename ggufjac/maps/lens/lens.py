"""A lens: a matrix for every block, from the stream that leaves it to the one that leaves the last block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ggufjac.errors import UserError


@dataclass(frozen=True)
class LensOrigin:
    """How a lens was fitted; a file from elsewhere says little of it.

    model, architecture: of the file; fingerprint: of its bytes (""); rules: how it was linearised; skip: how many first
    positions of a text count for nothing; length: tokens of a text; corpus: what the texts are, and digest: of their
    tokens.
    """

    model: str = ""
    architecture: str = ""
    fingerprint: str = ""
    rules: str = ""
    skip: int = 0
    length: int = 0
    corpus: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Lens:
    """The mean Jacobians of some texts, J_l [width of the last stream, width of block l's], by block, from 0.

    n_prompts: how many texts; squares: by block the sum over the texts of ||J||_F^2 of each one's own, from which the
    standard error comes (none: not known). The last block has no matrix: it is read as it is.
    """

    jacobians: Mapping[int, Tensor]
    n_prompts: int
    origin: LensOrigin = LensOrigin()
    squares: Mapping[int, float] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks that have a matrix, in ascending order."""
        return tuple(sorted(self.jacobians))

    @property
    def d_model(self) -> int:
        """How wide the last stream is."""
        return int(next(iter(self.jacobians.values())).shape[0])

    def jacobian(self, layer: int) -> Tensor:
        """J_l, float32. Raises UserError for a block that has none."""
        if layer not in self.jacobians:
            raise UserError(
                f"the lens has no matrix of block {layer}; it has those of {self.layers[0]} to {self.layers[-1]}"
            )
        return self.jacobians[layer].float()

    def transported(self, states: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """J_l h for states h [n, width] by block; a later block than all of the lens is handed on as it is."""
        return {
            layer: h if layer > self.layers[-1] else h @ self.jacobian(layer).to(h).mT for layer, h in states.items()
        }

    def standard_error(self, layer: int) -> float:
        """That of J_l as a mean over texts, ||.||_F over ||J_l||_F; nan where it is not known."""
        if layer not in self.squares or self.n_prompts < 2:
            return math.nan
        mean = float(self.jacobian(layer).double().square().sum())
        spread = max(0.0, self.squares[layer] / self.n_prompts - mean) / (self.n_prompts - 1)
        return math.sqrt(spread / mean) if mean else math.nan

    @property
    def largest_error(self) -> float:
        """The largest standard error of any block; nan where none is known."""
        errors = [self.standard_error(layer) for layer in self.layers]
        return max(errors) if errors and not any(map(math.isnan, errors)) else math.nan

    def save(self, path: str | Path) -> None:
        """Write the lens to a file that appears whole or not at all: .pt, or .safetensors.

        Raises UserError where it cannot be written.
        """
        from ggufjac.maps.lens.files import write_lens

        write_lens(self, path)

    @property
    def half(self) -> Lens:
        """With matrices in float16, as lenses are published; in float32 where one does not fit."""
        most = max(float(j.abs().max()) for j in self.jacobians.values())
        kind = torch.float16 if most < torch.finfo(torch.float16).max else torch.float32
        return replace(self, jacobians={layer: j.to(kind) for layer, j in self.jacobians.items()})


class LensSum:
    """What a fit adds up: the sum of the texts' Jacobians and their number are all of its state."""

    def __init__(self, origin: LensOrigin, begun: Lens | None = None) -> None:
        """begun: a lens to go on from. rounded: whether that is a finished one, in float16."""
        self.origin = origin
        self.rounded = begun is not None and any(j.dtype == torch.float16 for j in begun.jacobians.values())
        self.n = 0 if begun is None else begun.n_prompts
        self.sums: dict[int, Tensor] = {}
        self.squares: dict[int, float] = {}
        if begun is not None:
            self.sums = {layer: begun.jacobian(layer) * self.n for layer in begun.layers}
            self.squares = dict(begun.squares)

    def add(self, jacobians: Mapping[int, Tensor]) -> None:
        """One more text."""
        for layer, j in jacobians.items():
            square = float(j.double().square().sum())
            if not math.isfinite(square):
                raise UserError(f"the Jacobian of block {layer} overflows; --dtype float64 may hold it")
            if layer in self.sums:
                self.sums[layer] += j.to(self.sums[layer])
            else:
                self.sums[layer] = j.cpu().to(torch.promote_types(j.dtype, torch.float32), copy=True)
            self.squares[layer] = self.squares.get(layer, 0.0) + square
        self.n += 1

    def lens(self) -> Lens:
        """The mean so far."""
        return Lens({layer: s / self.n for layer, s in self.sums.items()}, self.n, self.origin, dict(self.squares))


def merged(lenses: Iterable[Lens]) -> Lens:
    """The mean of several fits, each weighed by its texts.

    Raises UserError where they are not of one model, one estimator or the same blocks, or where two are of the same
    texts.
    """
    found = list(lenses)
    first, *others = found
    for other in others:
        for name in ("architecture", "fingerprint", "rules", "skip"):
            mine, theirs = getattr(first.origin, name), getattr(other.origin, name)
            if mine != theirs:
                raise UserError(f"lenses that are merged have one {name}; these have {mine!r} and {theirs!r}")
        if other.layers != first.layers or any(
            other.jacobians[layer].shape != first.jacobians[layer].shape for layer in first.layers
        ):
            raise UserError("lenses that are merged have matrices of the same blocks and shapes; these have not")
    digests = [lens.origin.digest for lens in found if lens.origin.digest]
    if len(set(digests)) < len(digests):
        raise UserError("two of the lenses are of the same texts, which would count twice")
    n = sum(lens.n_prompts for lens in found)
    means = {
        layer: torch.stack([lens.jacobian(layer) * (lens.n_prompts / n) for lens in found]).sum(0)
        for layer in first.layers
    }
    known = all(lens.squares for lens in found)
    squares = {layer: sum(lens.squares[layer] for lens in found) for layer in first.layers} if known else {}
    origin = replace(first.origin, corpus=" + ".join(dict.fromkeys(lens.origin.corpus for lens in found)), digest="")
    return Lens(means, n, origin, squares)
