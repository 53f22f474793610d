"""How soon a lens settles, by rules: one fit of each, and what it was after 1, 2, 4, 8, ... texts.

"error" is the standard error of a block's J as a mean over texts, as a share of its length: the median and the largest
of all blocks. "to the last" is how far the lens then was from the whole fit's, the median over blocks of the same
share; it holds less than the error, as the first texts are in both. The texts are what each model says by itself. The
lenses are left in FOLDER/MODEL, as RULES.pt and RULES-N.pt, for `python -m benchmarks lens intermediates`; a fit that
was ended goes on, and one that is done is read.

    python -m benchmarks lens settling --folder FOLDER [--model smollm2-135m ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.table import Table
from ggufjac.analyses.lens.corpus import Corpus, own_words
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.maps.lens.files import load_lens, write_lens
from ggufjac.maps.lens.lens import Lens, LensSum
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

RULES = ("ordinary", "rlens", "lrp", "detached")
HEADINGS = ("model, rules", "texts", "error, median", "largest", "to the last")


@dataclass(frozen=True)
class Fits:
    """What is fitted of a model: texts of so many tokens; layers: these blocks (None: all but the last)."""

    model: str
    texts: int
    length: int
    layers: tuple[int, ...] | None = None

    @property
    def described(self) -> str:
        blocks = "all blocks" if self.layers is None else f"blocks {self.layers[0]} to {self.layers[-1]}"
        return f"{self.model}: {blocks}, texts of {self.length} tokens"

    def options(self, rules: str) -> LensFitOptions:
        return LensFitOptions(prompts=self.texts, length=self.length, layers=self.layers, rules=rules, dtype="bfloat16")


#: What two cores do in an hour.
FITS = (Fits("smollm2-135m", 4, 128), Fits("qwen2.5-coder-0.5b", 3, 64, tuple(range(12, 23))))


def fitted(model: Model, corpus: Corpus, options: LensFitOptions, folder: Path) -> Iterator[Lens]:
    """The lens after 1, 2, 4, ... texts and all of them."""
    name = str(options.linearisation)

    def told(state: LensSum, n: int) -> None:
        if state.n and (state.n & (state.n - 1) == 0 or state.n == n):
            write_lens(state.lens(), folder / f"{name}-{state.n}.pt")

    whole = fit(model, corpus, options, folder / f"{name}.pt", told=told)
    steps = [1 << i for i in range(whole.n_prompts.bit_length())]
    for n in sorted({*steps, whole.n_prompts}):
        file = folder / f"{name}-{n}.pt"
        if file.exists():
            yield load_lens(file)


def rows(fits: Fits, folder: Path) -> Iterator[list[str]]:
    """One model's."""
    folder = folder / fits.model
    folder.mkdir(parents=True, exist_ok=True)
    options = [fits.options(rules) for rules in RULES]
    with Model.open(resolve(fits.model)) as model:
        corpus = own_words(model, fits.texts, length=fits.length, seed=options[0].seed)
        for each in options:
            found = list(fitted(model, corpus, each, folder))
            for lens in found:
                errors = [lens.standard_error(layer) for layer in lens.layers]
                known = lens.n_prompts > 1
                yield [
                    f"{fits.model}, {each.linearisation}",
                    f"{lens.n_prompts}",
                    *(f"{error:.3f}" if known else "" for error in (median(errors), max(errors))),
                    f"{median(_distances(lens, found[-1])):.3f}" if lens is not found[-1] else "",
                ]


def _distances(lens: Lens, other: Lens) -> list[float]:
    pairs = [(lens.jacobian(layer), other.jacobian(layer)) for layer in lens.layers]
    return [float((a - b).norm() / b.norm()) for a, b in pairs]


def table(folder: Path, models: Sequence[str] = ()) -> Table:
    """The models named, or all."""
    chosen = [fits for fits in FITS if fits.model in (models or [fits.model])]
    note = f"bfloat16. {'; '.join(fits.described for fits in chosen)}."
    return Table(HEADINGS, (row for fits in chosen for row in rows(fits, folder)), note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[], choices=[fits.model for fits in FITS])
    parser.add_argument("--folder", type=Path, required=True, help="where the lenses go")
    args = parser.parse_args()
    table(args.folder, args.model).print()
