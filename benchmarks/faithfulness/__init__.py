"""How faithful an account of a prediction is: what becomes of the prediction without the tokens that it names.

    python -m benchmarks faithfulness                                  # all prompts, the small real models
    python -m benchmarks faithfulness --model FILE --prompts 10        # another model, fewer prompts
    python -m benchmarks faithfulness --rules lrp "lrp + detached"     # other rules than the presets
    python -m benchmarks faithfulness --save scores.json               # and every score, to be shown again with --show

Every account gives each token a term. Token vectors are set to 0 one after the other, the largest term first, and once
more the smallest first, and the network is run again at every step (at 6 of them, evenly spread, where there are more).
"Area": how much lower ln p of the predicted token stands in the first case, on the mean; higher is better, chance gives
0. "Spearman": the correlation of ranks between the terms and what is lost of ln p by zeroing each token alone. ± is the
standard error over the prompts. Zeroing each token alone, a run for every token, is what the others are held against;
it is no upper bound. A sweep is one column backwards through the network, which costs about as much as a run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.faithfulness.accounts import accounts
from benchmarks.faithfulness.case import Case
from benchmarks.faithfulness.measure import Score, measure
from benchmarks.faithfulness.prompts import Prompt, read
from benchmarks.faithfulness.summary import Summary
from ggufjac.atomic import write_text
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.registry import resolve
from ggufjac.rules import PRESETS

MODELS = ("smollm2-135m", "gemma3-270m")


def scores(
    model: Model, prompts: Mapping[int, Prompt], rules: Sequence[str], others: bool = True
) -> Iterator[list[Score]]:
    """Those of one prompt after the other."""
    all_accounts = accounts(rules, others)
    with torch.no_grad():
        for number, prompt in prompts.items():
            case = Case(model, prompt.written(model.file.architecture))
            yield measure(case, all_accounts, number, prompt.kind)


def lines(models: Sequence[str] = MODELS) -> Iterator[str]:
    """All prompts on several models, as Markdown."""
    for name in models:
        found: list[Score] = []
        with Model.open(resolve(name)) as model:
            for some in scores(model, read(), list(PRESETS)):
                found += some
        yield from shown(name, found)


def kept(files: Sequence[Path]) -> Iterator[str]:
    """What --save kept, as Markdown."""
    for name, found in _read(files).items():
        yield from shown(name, found)


def shown(name: str, found: Sequence[Score]) -> Iterator[str]:
    """The tables of one model, as Markdown."""
    summary = Summary(found)
    lengths = summary.lengths
    yield f"### {name}: {summary.n_prompts} prompts of {min(lengths)} to {max(lengths)} tokens"
    for title, table in summary.tables():
        yield ""
        yield f"{title}:"
        yield ""
        yield from table.lines()
    yield ""


def _measure(name: str, found: list[Score], args: argparse.Namespace) -> Iterator[None]:
    """The scores of a model's prompts that are not there yet, added one prompt after the other."""
    done = {score.prompt for score in found}
    prompts = {i: prompt for i, prompt in list(read().items())[: args.prompts] if i not in done}
    with Model.open(resolve(name)) as model:
        for i, some in enumerate(scores(model, prompts, args.rules, not args.only_rules)):
            found += some
            print(f"{name}: {i + 1} of {len(prompts)} prompts", file=sys.stderr, flush=True)
            yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="names or files")
    parser.add_argument("--prompts", type=int, default=sys.maxsize, metavar="N", help="so many, of all kinds")
    parser.add_argument("--rules", nargs="+", default=list(PRESETS), help="rules, or sums of several with +")
    parser.add_argument("--only-rules", action="store_true", help="nothing beside them but zeroing")
    parser.add_argument("--save", type=Path, metavar="FILE", help="every score, as JSON; what is there is gone on with")
    parser.add_argument("--show", type=Path, nargs="+", default=[], metavar="FILE", help="measure nothing; show these")
    args = parser.parse_args()
    there = [args.save] if args.save is not None and args.save.exists() else []
    try:
        found = _read(args.show or there)
        for name in [] if args.show else args.model:
            for _ in _measure(name, found.setdefault(Path(name).stem if "/" in name else name, []), args):
                if args.save is not None:
                    _write(args.save, found)
    except UserError as problem:
        print(problem, file=sys.stderr)
        return 2
    for name, some in found.items():
        print("\n".join(shown(name, some)), flush=True)
    return 0


def _write(file: Path, found: Mapping[str, Sequence[Score]]) -> None:
    rows = {name: [asdict(score) for score in some] for name, some in found.items()}
    write_text(file, json.dumps(rows, ensure_ascii=False))


def _read(files: Sequence[Path]) -> dict[str, list[Score]]:
    """Scores by model, of several files one after the other."""
    found: dict[str, list[Score]] = {}
    for file in files:
        for name, rows in json.loads(file.read_text(encoding="utf-8")).items():
            found.setdefault(name, []).extend(Score(**row) for row in rows)
    return found
