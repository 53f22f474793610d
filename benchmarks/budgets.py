"""What an analysis takes of memory beyond the program's own, beside its --memory: the largest RssAnon of its process.

    python -m benchmarks budgets analyze --tokens 8 --memory 50MiB
    python -m benchmarks budgets analyze --fast --tokens 400 --memory 300MiB

One case a process: what an analysis gives back, the next one would find. The program's own is what it has once torch,
the vocabulary and all that plans are there.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.ablate import TEXT
from benchmarks.machine import AnonymousMemory
from ggufjac import parse
from ggufjac.analyses.plan import plan_of
from ggufjac.analyses.table import COMMANDS
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

#: Tokens of the plan by which what plans is brought in.
FEW = 8


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("analysis", choices=("analyze", "attribute"))
    reader.add_argument("--model", default="smollm2-135m")
    reader.add_argument("--tokens", type=int, default=FEW)
    reader.add_argument("--memory", type=parse.byte_count, required=True)
    reader.add_argument("--fast", action="store_true")
    args = reader.parse_args()
    entry = COMMANDS[args.analysis]
    options = entry.options_class(memory=args.memory, fast=args.fast)
    with Model.open(resolve(args.model)) as model, torch.no_grad():
        ids = (model.tokenize(TEXT) * (1 + args.tokens // 50))[: args.tokens]
        plan_of([(model, FEW)], args.analysis, entry.options_class())
        with AnonymousMemory() as own:
            pass
        with AnonymousMemory() as seen:
            entry.function(model, ids, options)
    beyond = (seen.peak - own.peak) >> 20
    print(
        f"{args.analysis}, {args.tokens} tokens: {beyond} MiB of {args.memory >> 20}, and {own.peak >> 20} the program"
    )
    return 0
