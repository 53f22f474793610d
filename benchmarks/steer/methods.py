"""Which way of steering says a concept most often at an equal price: concepts x methods x models.

Every method pushes behind one layer, at seven tenths of the network, and as hard as makes it cost the same:
KL(without || with) of the next token on ordinary texts, in nats a token, is searched to 3%. Then prompts that have
nothing to do with a concept go on, tokens drawn at temperature 1 with the same random numbers for all methods, and
the texts are counted that hold one of the concept's words; these were fixed beforehand
(benchmarks/steer/concepts.json). "Others" are the texts that hold a counted word which no method was given by name:
directions of words are given two. ± is the standard error over the prompts. An empty cell was not measured. "mass" is
the mean probability of the concept's words on the ordinary texts.

    python -m benchmarks steer methods --save steer.jsonl                  # measures what the file does not have yet
    python -m benchmarks steer methods --save steer.jsonl --models smollm2-135m --concepts weddings --seeds 1
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.steer.concepts import Concept, Material, read
from benchmarks.steer.directions import Directions
from benchmarks.steer.measures import Meter, Place, Priced, Pushing, Rated, fixed, texts_of
from benchmarks.steer.operators import Variants, along, scaled, streamed
from benchmarks.table import Table
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

#: The layer at this share of the network, on which methods were tried for one concept beforehand.
DEPTH = 0.7
PRICE = 0.5
PUBLISHED, MENDED, NOTHING = "published operator", "operator's own end", "not steered"
#: The concept whose texts are shown.
EXAMPLE = "San Francisco"
METHODS = (
    PUBLISHED,
    MENDED,
    "prompt state",
    "prompt state less neutral",
    "left, leading",
    "left, of the words",
    "right, of the words",
    "pairs mean",
    "pairs pca",
    "pairs map",
    "words of the prompt",
    "words, named",
    "random",
)
#: Those that are run on larger models.
FEW = (PUBLISHED, MENDED, "pairs mean", "words of the prompt", "words, named", "random")


@dataclass(frozen=True)
class Size:
    """How much is run on a model: prompts, seeds of each, tokens of a text; ordinary texts, tokens of each; methods."""

    prompts: int
    seeds: int
    tokens: int
    ordinary: int
    length: int
    methods: Sequence[str]


MODELS = {
    "smollm2-135m": Size(8, 2, 16, 2, 16, METHODS),
    "qwen2.5-coder-0.5b": Size(8, 1, 16, 2, 16, FEW),
    "qwen2.5-coder-1.5b": Size(6, 1, 12, 2, 12, FEW[:-1]),
}


@dataclass(frozen=True)
class Cell:
    """A method on a concept and a model, and the texts that it wrote."""

    model: str
    concept: str
    method: str
    layer: int
    strength: float
    price: float
    mass: float
    texts: tuple[Rated, ...]

    def rate(self, of: str = "hits") -> tuple[float, float]:
        """The share of texts, and its standard error over prompts."""
        return _mean(self.texts, lambda text: float(getattr(text, of) > 0))

    def words(self) -> tuple[float, float]:
        """Counted words a token."""
        return _mean(self.texts, lambda text: text.hits / text.tokens)


def _mean(texts: Sequence[Rated], value: Callable[[Rated], float]) -> tuple[float, float]:
    """Over the prompts, with its standard error."""
    by_prompt: dict[int, list[float]] = {}
    for text in texts:
        by_prompt.setdefault(text.prompt, []).append(value(text))
    means = torch.tensor([sum(each) / len(each) for each in by_prompt.values()], dtype=torch.float64)
    return float(means.mean()), float(means.std() / len(means) ** 0.5)


class Bench:
    """One model: every method on one concept after the other."""

    def __init__(self, name: str, model: Model, material: Material, seeds: int | None = None) -> None:
        self.name, self.model, self.material = name, model, material
        self.size = MODELS[name] if seeds is None else replace(MODELS[name], seeds=seeds)
        self.layer = round(DEPTH * (model.family.n_layer - 1))
        self.meter = Meter(model, material.neutral[: self.size.ordinary], self.size.length)
        self.length = float(self.meter.lengths()[self.layer])
        self.directions = Directions(model, material, self.layer, self.meter.usual)

    def cells(self, concept: Concept, wanted: Sequence[str]) -> Iterator[Cell]:
        """Some methods on a concept."""
        tokens, prompts, size = concept.tokens(self.model), self.material.prompts[: self.size.prompts], self.size

        def written(pushing: Pushing | None, priced: Sequence[Priced], names: Sequence[str]) -> Iterator[Cell]:
            strengths, n = [each.strength for each in priced], len(priced)
            texts = texts_of(self.model, prompts, size.seeds, size.tokens, pushing, strengths, [concept] * n)
            for method, p, rated in zip(names, priced, texts, strict=True):
                yield Cell(self.name, concept.name, method, self.layer, p.strength, p.price, p.mass, tuple(rated))

        def priced(pushing: Pushing, n: int = 1) -> list[Priced]:
            return self.meter.at_price(pushing, n, PRICE, [tokens] * n)

        if NOTHING in wanted:
            yield from written(None, [Priced(0.0, 0.0, self.meter.usual_mass(tokens))], [NOTHING])
        found = self.directions.of(concept, wanted)
        if found:
            places = [Place(self.layer, v / v.norm() * self.length) for v in found.values()]
            pushing = fixed(self.model, places)
            yield from written(pushing, priced(pushing, len(found)), list(found))
        if PUBLISHED in wanted or MENDED in wanted:
            variants = Variants(self.model, self.meter.texts, self.layer)
            terms, maps = variants.terms(concept.prompt, "detached")
            if PUBLISHED in wanted:
                known = along(self.model, self.layer, [(terms.cumsum(1), True)], 0.0)
                yield from written(streamed(maps, self.layer), priced(known), [PUBLISHED])
            if MENDED in wanted:
                pushing = scaled(self.model, self.layer, maps.written[0])
                yield from written(pushing, priced(pushing), [MENDED])


# --- the file ----------------------------------------------------------------------------------------------------


def load(path: Path) -> list[Cell]:
    """Raises UserError where it is no such file."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Cell(**{**line, "texts": tuple(Rated(**text) for text in line["texts"])}) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no file of `python -m benchmarks steer methods`: {error}") from None


def measure(
    path: Path,
    names: Sequence[str],
    concepts: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: int | None = None,
) -> None:
    """Add to a file what it lacks, a concept at a time; None: all concepts, the models' own methods and seeds."""
    material = read()
    for name in names:
        with Model.open(resolve(name)) as model, torch.no_grad():
            bench: Bench | None = None
            for concept in material.concepts:
                done = {(cell.model, cell.concept, cell.method) for cell in (load(path) if path.exists() else [])}
                every = (NOTHING, *(MODELS[name].methods if methods is None else methods))
                wanted = [method for method in every if (name, concept.name, method) not in done]
                if not wanted or (concepts is not None and concept.name not in concepts):
                    continue
                bench = bench or Bench(name, model, material, seeds)
                since = time.perf_counter()
                for cell in bench.cells(concept, wanted):
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(cell), ensure_ascii=False) + "\n")
                print(f"{name}, {concept.name}: {time.perf_counter() - since:.0f} s", flush=True)


# --- tables ------------------------------------------------------------------------------------------------------


def lines(paths: Sequence[Path]) -> Iterator[str]:
    """A table for each model, and a few texts."""
    cells = [cell for path in paths for cell in load(path)]
    for name in dict.fromkeys(cell.model for cell in cells):
        here = [cell for cell in cells if cell.model == name]
        yield from table(here).lines()
        yield ""
    for cell in _examples(cells):
        yield f"* {cell.model}, {cell.concept}, {cell.method}: “{' '.join(cell.texts[0].text.split())}”"


def table(cells: Sequence[Cell]) -> Table:
    """The share of texts by concept, of one model, and what holds for all concepts together."""
    concepts = list(dict.fromkeys(cell.concept for cell in cells if cell.method != NOTHING))
    methods = [m for m in (NOTHING, *METHODS) if any(cell.method == m for cell in cells)]
    first = cells[0]
    steered = [cell for cell in cells if cell.method != NOTHING]
    texts = [len(next(cell for cell in steered if cell.concept == concept).texts) for concept in concepts]
    note = (
        f"{first.model}, layer {first.layer}; texts of at most {max(t.tokens for cell in cells for t in cell.texts)} "
        f"tokens, {len({t.prompt for t in first.texts})} prompts; texts for each cell: "
        f"{', '.join(map(str, texts)) if len(set(texts)) > 1 else texts[0]}. The share of texts with a word of the "
        "concept, in percent, and over all of the concepts: texts with words that were not given, counted words among "
        "100 tokens, the words' mean probability on ordinary text."
    )
    headings = ("method", *concepts, "all", "others", "words", "mass, %")
    return Table(headings, (_row(method, concepts, cells) for method in methods), note)


def _row(method: str, concepts: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    here = {cell.concept: cell for cell in cells if cell.method == method and cell.concept in concepts}
    shown = [_percent(*here[c].rate()) if c in here else "" for c in concepts]
    each = list(here.values())
    # a mean over other concepts than those of the rows beside it would be no comparison
    whole = len(each) >= len(concepts)
    return [
        method,
        *shown,
        _percent(*_over([cell.rate() for cell in each])) if whole else "",
        _percent(*_over([cell.rate("others") for cell in each])) if whole else "",
        _percent(*_over([cell.words() for cell in each]), digits=1) if whole else "",
        f"{100 * sum(cell.mass for cell in each) / len(each):.2f}" if whole else "",
    ]


def _over(rates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean over concepts, and its standard error from those of each."""
    n = len(rates)
    return sum(mean for mean, _ in rates) / n, sum(error**2 for _, error in rates) ** 0.5 / n


def _percent(mean: float, error: float, digits: int = 0) -> str:
    return f"{100 * mean:.{digits}f} ± {100 * error:.{digits}f}"


def _examples(cells: Sequence[Cell]) -> list[Cell]:
    """The first text of some methods, of one concept on each model."""
    return [c for c in cells if c.concept == EXAMPLE and c.method in (PUBLISHED, "pairs mean", "words, named")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, required=True, metavar="FILE", help="where results are kept")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--concepts", nargs="+", metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="NAME", help=", ".join(METHODS))
    parser.add_argument("--seeds", type=int, metavar="N", help="of each prompt")
    args = parser.parse_args()
    measure(args.save, args.models, args.concepts, args.methods, args.seeds)
    for line in lines([args.save]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
