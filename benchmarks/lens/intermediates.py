"""Whether a lens reads what a model must think of on its way: prompts with a known intermediate in none of their words.

A prompt passes at k if the reading of any block but the last, at any position from the subject's last token on, has a
token of the intermediate among its k first. In brackets: the same for the intermediate of another prompt, which is what
so many readings hold by chance. ± is the standard error over the prompts, by bootstrap. In the second table, by how
much more of the same prompts pass than with the first fitted lens, with the standard error of that difference.

    python -m benchmarks lens intermediates                                       # the logit lens
    python -m benchmarks lens intermediates --model smollm2-135m --lens FILE ...  # beside fitted ones
    python -m benchmarks lens intermediates --own ordinary detached --every 2     # and each prompt's own map
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.lens.prompts import Prompt, read, tokens_of
from benchmarks.lens.settling import FITS, RULES
from benchmarks.table import Table
from ggufjac.analyses.lens.options import LensReadOptions
from ggufjac.analyses.lens.sources import by_own_map
from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

MODEL = "smollm2-135m"
#: Of the blocks every so-manieth is read in the kept tables, as own maps cost a column for every state.
EVERY = 3
KS = (1, 5, 10, 50)
#: Samples of the bootstrap.
SAMPLES = 2000


@dataclass(frozen=True)
class Asked:
    """A prompt as a model reads it: its states from position `start`, the subject's, on by block [n, width], and the
    tokens to be found and by chance.

    answered: whether the model's own prediction begins the answer.
    """

    ids: list[int]
    start: int
    states: Mapping[int, Tensor]
    wanted: list[int]
    by_chance: list[int]
    answered: bool


#: To what is read in the place of a prompt's states, [n, d], by block.
Reading = Callable[[Asked], Mapping[int, Tensor]]


def asked(model: Model, prompts: Sequence[Prompt], every: int = 1) -> list[Asked]:
    """All prompts whose intermediates have a token in this model, with the states of the last block but one and every
    so-manieth before it."""
    found = []
    for i, prompt in enumerate(prompts):
        wanted, answers = tokens_of(model, prompt.intermediate), tokens_of(model, [prompt.answer])
        # the next prompt of another kind
        others = (prompts[(i + j) % len(prompts)] for j in range(1, len(prompts)))
        other = next(other for other in others if other.kind != prompt.kind)
        by_chance = [token for token in tokens_of(model, other.intermediate) if token not in (*wanted, *answers)]
        if not wanted or not by_chance:
            continue
        done = model.run(prompt.text)
        start = prompt.known_from(model)
        states = {layer: state[start:] for layer, state in [*enumerate(done.states[1:-1])][::-every]}
        found.append(
            Asked(
                model.tokenize(prompt.text), start, states, wanted, by_chance, int(done.logits[-1].argmax()) in answers
            )
        )
    return found


def logits(model: Model, streams: Mapping[int, Tensor]) -> Iterator[Tensor]:
    """What the model's own norm and head make of streams [n, d], one block after the other."""
    run = model.run("a").run.elsewhere()
    for stream in streams.values():
        yield model.family.head.value(run, model.family.output_norm.value(run, stream))


def best_rank(read_by: Sequence[Tensor], tokens: Sequence[int]) -> int:
    """The best rank, from 0, of any of the tokens in logits [n, n_vocab]."""
    return min(int((row > row[tokens].max()).sum()) for scores in read_by for row in scores)


def ranks(model: Model, prompts: Sequence[Asked], reading: Reading) -> tuple[list[int], list[int]]:
    """Of the intermediates, and of those of other prompts."""
    own, chance = [], []
    for prompt in prompts:
        scores = list(logits(model, reading(prompt)))
        own.append(best_rank(scores, prompt.wanted))
        chance.append(best_rank(scores, prompt.by_chance))
    return own, chance


def passed(ranks: Sequence[int], k: int) -> tuple[float, float]:
    """The share of prompts that pass at k, and its standard error."""
    good = np.asarray(ranks) < k
    drawn = np.random.default_rng(0).integers(0, len(good), (SAMPLES, len(good)))
    return float(good.mean()), float(good[drawn].mean(1).std())


def more(ranks: Sequence[int], others: Sequence[int], k: int) -> tuple[float, float]:
    """By how much the share that passes at k is larger than another's on the same prompts, and its standard error."""
    apart = (np.asarray(ranks) < k).astype(float) - (np.asarray(others) < k)
    drawn = np.random.default_rng(0).integers(0, len(apart), (SAMPLES, len(apart)))
    return float(apart.mean()), float(apart[drawn].mean(1).std())


def rows(
    model: Model, prompts: Sequence[Asked], readings: Mapping[str, Reading], found: dict[str, list[int]]
) -> Iterator[list[str]]:
    """Every lens; found: takes the ranks of each."""
    for name, reading in readings.items():
        own, chance = ranks(model, prompts, reading)
        found[name] = own
        cells = ((passed(own, k), passed(chance, k)) for k in KS)
        yield [name, *(f"{share:.2f} ± {error:.2f} ({other:.2f})" for (share, error), (other, _) in cells)]


def _as_it_is(prompt: Asked) -> Mapping[int, Tensor]:
    return prompt.states


def _through(lens: Lens, prompt: Asked) -> Mapping[int, Tensor]:
    """A lens reads the blocks that it has."""
    return lens.transported({layer: h for layer, h in prompt.states.items() if layer in lens.layers})


def _own(model: Model, options: LensReadOptions, prompt: Asked) -> Mapping[int, Tensor]:
    """What every state does to the end of its own prompt."""
    streams = model.linearize_streams(prompt.ids, options, 0)
    return by_own_map(streams, prompt.states, range(prompt.start, len(prompt.ids))).states


def readings_of(model: Model, files: Sequence[str], own: Sequence[str] = ()) -> dict[str, Reading]:
    """The logit lens, those in files, and each prompt's own map by some rules. Raises UserError for a lens of a model
    of another width."""
    found: dict[str, Reading] = {"logit lens": _as_it_is}
    for rules in own:
        found[f"own map: {rules}"] = partial(_own, model, LensReadOptions(rules=rules))
    for file in files:
        lens = load_lens(file)
        if lens.d_model != model.family.d:
            raise UserError(f"{file}: the lens is {lens.d_model} wide, and the model {model.family.d}")
        found[f"{lens.origin.rules or file}, {lens.n_prompts} texts"] = partial(_through, lens)
    return found


def tables(name: str, files: Sequence[str], own: Sequence[str] = (), every: int = 1) -> Iterator[str]:
    """The table of one model, as Markdown."""
    with torch.no_grad(), Model.open(resolve(name)) as model:
        readings, written = readings_of(model, files, own), read()
        prompts = asked(model, written, every)
        answered = sum(prompt.answered for prompt in prompts)
        note = f"{name}: {len(prompts)} of {len(written)} prompts; the model itself answers {answered} of them."
        headings = ("lens", *(f"pass@{k}" for k in KS))
        found: dict[str, list[int]] = {}
        yield from Table(headings, rows(model, prompts, readings, found), note).lines()
        fitted = list(found)[1 + len(own) :]
        if len(fitted) > 1:
            first = found[fitted[0]]
            apart = (
                [name, *("{:+.2f} ± {:.2f}".format(*more(found[name], first, k)) for k in KS)] for name in fitted[1:]
            )
            yield ""
            yield from Table((f"more than {fitted[0]}", *headings[1:]), apart).lines()


def lines(folder: Path) -> Iterator[str]:
    """The tables of all models whose lenses lie in a folder as `settling` leaves them, beside each prompt's own map."""
    for fits in FITS:
        lenses = [folder / fits.model / f"{rules}.pt" for rules in RULES]
        yield from tables(fits.model, [str(file) for file in lenses if file.exists()], RULES, EVERY)
        yield ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--lens", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--own", nargs="+", default=[], metavar="RULES", help="each prompt's own map by these rules")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth block is read (default: all)")
    args = parser.parse_args()
    try:
        for line in tables(args.model, args.lens, args.own, args.every):
            print(line, flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
