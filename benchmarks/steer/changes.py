"""Why the published operator says so little: changes of it, one at a time, at an equal price.

The mean probability of a concept's words on ordinary texts, in percent, when the stream is pushed along the operator's
direction a_p = sum of J x over the text so far, or along what one change makes of it. First: how much of a_p is the
term of the text's first token (the mean cosine of both), how alike the a_p of two concepts are, and how alike a_p and
the text's own stream.

    python -m benchmarks steer changes --model smollm2-135m --rules half lrp rlens
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.steer.concepts import Concept, read
from benchmarks.steer.measures import Meter
from benchmarks.steer.methods import DEPTH, PRICE
from benchmarks.steer.operators import Variants, along
from benchmarks.table import Table
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

#: What "less a neutral prompt's" subtracts.
NEUTRAL = "The meeting was long and the manager"
#: Ordinary texts and tokens of each; the first position whose directions are compared.
TEXTS, LENGTH, FIRST = 2, 16, 4


def lines(name: str, rules: Sequence[str], names: Sequence[str] | None = None) -> Iterator[str]:
    material = read()
    concepts = [c for c in material.concepts if names is None or c.name in names]
    with Model.open(resolve(name)) as model, torch.no_grad():
        layer = round(DEPTH * (model.family.n_layer - 1))
        meter = Meter(model, material.neutral[:TEXTS], LENGTH)
        length = float(meter.lengths()[layer])
        variants = Variants(model, meter.texts, layer)
        masses: dict[str, list[str]] = {"not steered": []}
        found: list[Tensor] = []
        terms: list[float] = []
        for concept in concepts:
            changed = variants.of(concept.prompt, NEUTRAL, rules)
            a = changed["published"][0]
            found.append(a[:, FIRST:])
            terms.append(float(F.cosine_similarity(a[:, FIRST:], a[:, :1], dim=-1).mean()))
            tokens = concept.tokens(model)
            masses["not steered"].append(f"{100 * meter.usual_mass(tokens):.2f}")
            pushing = along(model, layer, list(changed.values()), length)
            for change, priced in zip(
                changed, meter.at_price(pushing, len(changed), PRICE, [tokens] * len(changed)), strict=True
            ):
                masses.setdefault(change, []).append(f"{100 * priced.mass:.2f}")
        yield _note(model, name, layer, concepts, found, terms, meter)
        yield ""
    headings = ("pushed along", *(concept.name for concept in concepts))
    yield from Table(headings, ([change, *cells] for change, cells in masses.items())).lines()


def _note(
    model: Model,
    name: str,
    layer: int,
    concepts: Sequence[Concept],
    found: Sequence[Tensor],
    terms: Sequence[float],
    meter: Meter,
) -> str:
    n = model.family.leaving
    streams = torch.stack([model.run(t.tolist()).states[layer + 1][FIRST:, :n] for t in meter.texts])
    pairs = [float(F.cosine_similarity(a, b, dim=-1).mean()) for a, b in combinations(found, 2)]
    own = [float(F.cosine_similarity(a, streams, dim=-1).mean()) for a in found]
    return (
        f"{name}, layer {layer}, {len(concepts)} concepts. Mean cosines: of a_p and its first token's term "
        f"{sum(terms) / len(terms):.2f}; of two concepts' a_p {sum(pairs) / max(1, len(pairs)):.2f}; of a_p and the "
        f"text's own stream {sum(own) / len(own):.2f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rules", nargs="*", default=["half", "lrp", "rlens"])
    parser.add_argument("--concepts", nargs="+", metavar="NAME")
    args = parser.parse_args()
    for line in lines(args.model, args.rules, args.concepts):
        print(line, flush=True)
