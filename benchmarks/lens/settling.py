"""How soon a lens settles, by rules: one fit of each, and what it was after 1, 2, 4, 8, ... texts.

"error" is the standard error of a block's J as a mean over texts, as a share of its length: the median and the largest
of all blocks. "to the last" is how far the lens then was from the whole fit's, the median over blocks of the same
share; it holds less than the error, as the first texts are in both. The fits are left in the folder, as RULES.pt and
RULES-N.pt for `python -m benchmarks lens intermediates`; a fit that was ended goes on.

    python -m benchmarks lens settling --folder FOLDER [--prompts 8] [--rules ordinary ...]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.table import Table
from ggufjac import parse
from ggufjac.analyses.lens.corpus import Corpus, own_words
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.maps.lens.files import load_lens, write_lens
from ggufjac.maps.lens.lens import Lens, LensSum
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

RULES = ("ordinary", "rlens", "lrp", "detached")
HEADINGS = ("rules", "texts", "error, median", "largest", "to the last", "CPU s a text")


def fitted(model: Model, corpus: Corpus, options: LensFitOptions, folder: Path) -> Iterator[tuple[Lens, float]]:
    """The lens after 1, 2, 4, ... texts and all of them, with the processor time of a text."""
    name = str(options.linearisation)
    began, first = time.process_time(), 0
    spent = math.nan
    kept: list[int] = []

    def told(state: LensSum, n: int) -> None:
        nonlocal first, spent
        if not kept:
            first = state.n
        if state.n > first:
            spent = (time.process_time() - began) / (state.n - first)
        if state.n and (state.n & (state.n - 1) == 0 or state.n == n):
            write_lens(state.lens(), folder / f"{name}-{state.n}.pt")
        kept.append(state.n)

    whole = fit(model, corpus, options, folder / f"{name}.pt", told=told)
    steps = [1 << i for i in range(whole.n_prompts.bit_length())]
    for n in sorted({*steps, whole.n_prompts}):
        file = folder / f"{name}-{n}.pt"
        if file.exists():
            yield load_lens(file), spent


def rows(name: str, rules: Sequence[str], options: LensFitOptions, folder: Path) -> Iterator[list[str]]:
    with Model.open(resolve(name)) as model:
        corpus = own_words(model, options.prompts, length=options.length, seed=options.seed)
        for each in rules:
            found = list(fitted(model, corpus, replace(options, rules=each), folder))
            last = found[-1][0]
            for lens, spent in found:
                errors = [lens.standard_error(layer) for layer in lens.layers]
                known = lens.n_prompts > 1
                yield [
                    each,
                    f"{lens.n_prompts}",
                    *(f"{error:.3f}" if known else "" for error in (median(errors), max(errors))),
                    f"{median(_distances(lens, last)):.3f}" if lens is not last else "",
                    f"{spent:.0f}",
                ]


def _distances(lens: Lens, other: Lens) -> list[float]:
    pairs = [(lens.jacobian(layer), other.jacobian(layer)) for layer in lens.layers]
    return [float((a - b).norm() / b.norm()) for a, b in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rules", nargs="+", default=RULES, metavar="RULES")
    parser.add_argument("--prompts", type=int, default=8, metavar="N", help="texts of each fit (default 8)")
    parser.add_argument("--length", type=int, default=128, metavar="N", help="tokens of a text (default 128)")
    parser.add_argument("--layers", type=parse.ranges, metavar="N,N", help="these blocks (default: all but the last)")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--folder", type=Path, required=True, help="where the lenses go")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    options = LensFitOptions(prompts=args.prompts, length=args.length, dtype=args.dtype, layers=args.layers)
    blocks = "" if args.layers is None else f", blocks {args.layers[0]} to {args.layers[-1]}"
    note = f"{args.model}{blocks}, {args.dtype}, texts of {args.length} tokens that the model says by itself."
    Table(HEADINGS, rows(args.model, args.rules, options, args.folder), note).print()
