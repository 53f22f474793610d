"""How well one backward sweep at the corrupt prompt foretells what patched runs restore, by part and rules.

For every pair of prompts (benchmarks/patch/pairs.jsonl: who was given something, capitals, number agreement, pronouns,
days and months) the clean prompt's value is put into the corrupt prompt's run at every layer and position from the
first token on that differs. Pearson's correlation of the estimates with these real runs is taken over all cells of a
part, and then the mean over the pairs, with its standard error. Pairs whose prompts have other numbers of tokens in a
model, whose answers are not one token there, or whose answers it does not tell apart by the prompts (the target's logit
above the other one rises by less than a logit) are left out.

The baseline of the times is the patched runs; a sweep includes the pass that gives its coefficients.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.table import Table
from ggufjac.analyses.options import PatchOptions
from ggufjac.analyses.patch import Patching, patch
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

FILE = Path(__file__).with_name("pairs.jsonl")
#: Models, and every how many of the pairs each is measured on.
MODELS = {"smollm2-135m": 1, "qwen2.5-coder-0.5b": 3}
RULES = ("ordinary", "detached", "half", "lrp", "lrp-qk", "rlens")
#: By how many logits the clean prompt must have the target above the other answer, compared with the corrupt one.
APART = 1.0


@dataclass(frozen=True)
class PatchPair:
    """Two prompts and what each should go on with."""

    kind: str
    clean: str
    corrupt: str
    target: str
    against: str


def read(file: Path = FILE) -> list[PatchPair]:
    """All pairs of a file, one a line."""
    return [PatchPair(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def measured(model: Model, pairs: Sequence[PatchPair]) -> Iterator[tuple[PatchPair, Patching]]:
    """What patching says of the pairs that fit the model."""
    for pair in pairs:
        ids = [model.tokenize(text) for text in (pair.clean, pair.corrupt)]
        answers = [model.vocab.tokenize(text, add_special=False) for text in (pair.target, pair.against)]
        if len(ids[0]) != len(ids[1]) or any(len(answer) != 1 for answer in answers):
            continue
        target, against = (answer[0] for answer in answers)
        above = [model.run(text).logits[-1] for text in ids]
        clean, corrupt = (float(logits[target] - logits[against]) for logits in above)
        if clean - corrupt < APART:
            continue
        with torch.no_grad():
            yield pair, patch(model, *ids, PatchOptions(target=target, against=against, estimates=RULES))


def lines(models: Mapping[str, int] = MODELS) -> Iterator[str]:
    """The tables of some models, each from every so many of the pairs."""
    for i, (name, every) in enumerate(models.items()):
        if i:
            yield ""
        yield from model_lines(name, read()[::every])


def model_lines(name: str, pairs: Sequence[PatchPair]) -> Iterator[str]:
    """One model: the correlations of all pairs, of every kind of pairs, and the times."""
    with Model.open(resolve(name)) as model:
        found = list(measured(model, pairs))
    if not found:
        raise UserError(f"{name}: no pair of {FILE.name} fits this model")
    results = [result for _, result in found]
    kinds = list(dict.fromkeys(pair.kind for pair, _ in found))
    counted = ", ".join(f"{sum(pair.kind == kind for pair, _ in found)} of {kind}" for kind in kinds)
    yield f"{name}, float32: {len(found)} of {len(pairs)} pairs ({counted}); {torch.get_num_threads()} threads."
    yield ""
    parts = [part.part for part in results[0].parts]
    rows = ([rules, *(_mean(results, part, rules) for part in parts)] for rules in RULES)
    yield from Table((f"correlation, {name}", *parts), rows).lines()
    yield ""
    rows = (
        [kind, *(_best([r for p, r in found if p.kind == kind], part) for part in parts)]
        for kind in kinds
    )  # fmt: skip
    yield from Table((f"the best rules by kind, {name}", *parts), rows, left=1 + len(parts)).lines()
    yield ""
    real = sum(result.seconds["patched runs"] for result in results)
    swept = sum(result.seconds["estimates"] for result in results) / len(RULES)
    cells = sum(result.n_runs for result in results)
    row = [f"{cells}", f"{real:.1f}", f"{swept:.1f}", f"{real / swept:.0f}x"]
    yield from Table((f"patched runs, {name}", "s", "one sweep for each pair, s", "ratio"), [row]).lines()


def _of(results: Sequence[Patching], part: str, rules: str) -> list[float]:
    every = (e.correlation for r in results for p in r.parts if p.part == part for e in p.estimates if e.rules == rules)
    return [value for value in every if value is not None]


def _mean(results: Sequence[Patching], part: str, rules: str) -> str:
    values = _of(results, part, rules)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def _best(results: Sequence[Patching], part: str) -> str:
    means = {rules: statistics.mean(_of(results, part, rules)) for rules in RULES}
    best = max(means, key=means.__getitem__)
    return f"{best} {means[best]:.3f} (ordinary {means['ordinary']:.3f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=tuple(MODELS), metavar="MODEL")
    parser.add_argument("--every", type=int, metavar="N", help="every so many of the pairs")
    args = parser.parse_args()
    for line in lines({name: args.every or MODELS.get(name, 1) for name in args.models}):
        print(line, flush=True)
    return 0
