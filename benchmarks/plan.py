"""What `plan` tells of analyses, beside what they take: seconds from the first token to the result.

    python -m benchmarks plan
    python -m benchmarks plan --also FILE:TOKENS ...     # attribute --fast of another model as well

The ratio is announced to taken: a plan is good for a decision where it lies between a half and two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.ablate import TEXT
from benchmarks.table import Table
from ggufjac.analyses.plan import plan_of
from ggufjac.analyses.table import COMMANDS
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

HEADINGS = ("model", "analysis", "tokens", "announced, s", "taken, s", "ratio")
#: Analysis, options and tokens; the texts are long enough for a minute at most.
CASES: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("analyze", {}, 8),
    ("analyze", {}, 48),
    ("analyze", {"tokens": "combined"}, 100),
    ("analyze", {"fast": True}, 400),
    ("attribute", {}, 8),
    ("attribute", {}, 100),
    ("attribute", {"fast": True}, 400),
    ("layers", {"every": 5}, 8),
    ("layers", {}, 8),
    ("ablate", {}, 8),
    ("ablate", {}, 200),
    ("ordinary", {}, 8),
    ("extremes", {}, 8),
    ("compare", {}, 48),
    ("steer", {}, 8),
)
MODELS = ("smollm2-135m", "gemma3-270m")


def rows(also: Sequence[str] = ()) -> Iterator[list[str]]:
    for name in MODELS:
        with Model.open(resolve(name)) as model:
            for command, options, n_tokens in CASES:
                yield _row(name, model, command, options, n_tokens)
    for named in also:
        path, _, tokens = named.rpartition(":")
        with Model.open(resolve(path)) as model:
            yield _row(model.file.path.stem, model, "attribute", {"fast": True}, int(tokens))


def _row(name: str, model: Model, command: str, options: dict[str, Any], n_tokens: int) -> list[str]:
    entry = COMMANDS[command]
    chosen = entry.options_class(**options)
    ids = (model.tokenize(TEXT) * (1 + n_tokens // 50))[:n_tokens]
    several = 2 if command == "compare" else 1
    told = plan_of([(model, n_tokens)] * several, command, chosen).seconds
    given: dict[str, tuple[Any, ...]] = {"compare": ([model], [ids, ids[::-1]]), "steer": (model, ids, ids)}
    with torch.no_grad():
        begun = time.perf_counter()
        entry.function(*given.get(command, (model, ids)), chosen)
        took = time.perf_counter() - begun
    flags = " ".join(f"--{key}" if value is True else f"--{key} {value}" for key, value in options.items())
    words = f"`{command} {flags}`" if flags else f"`{command}`"
    return [name, words, str(n_tokens), f"{told:.1f}", f"{took:.1f}", f"{told / took:.2f}"]


def table(also: Sequence[str] = ()) -> Table:
    return Table(HEADINGS, rows(also), f"{torch.get_num_threads()} threads, float32.", left=2)


def main() -> None:
    command = argparse.ArgumentParser(prog="python -m benchmarks plan")
    command.add_argument("--also", action="append", default=[], metavar="FILE:TOKENS")
    table(command.parse_args().also).print()
