"""Whole analyses of damaged files: a good file of every family, damaged in one or a few places, and read as a person
would: opened, tokenised, linearised, decomposed, reported.

    python tests/mutants.py --files 1000 [--seed 0] [--family llama ...]

What may come out is a report without a number that is none, or one line of refusal. A worker that dies, is silent for
a minute or takes more memory than it may is told with the number of its file, which `--seed N --files 1` makes again.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import re
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import ggufjac
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reader import GGUFFile
from ggufjac.reader.metadata import DTYPES, ValueType
from tinymodels import FAMILIES, make

#: Numbers that keys are set to.
INTEGERS = (0, 1, 2, 3, 7, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -1.0, 1e-45, 1e-6, 1.0, 1e6, 3e38, float("inf"), float("-inf"), float("nan"))
#: What a worker may map beside what the program itself takes.
MOST_GIB = 6
#: How long a file may take, with the making of the good one.
SECONDS = 120
#: Files after which the counts are told.
TOLD = 1000
PROMPT = "the bridge over the"
#: A number that is none, as a report would print it.
NO_NUMBER = re.compile(r"(?<![\w])[-+]?(nan|inf)(?![\w])", re.IGNORECASE)

ANALYSES: tuple[Callable[[Model], Any], ...] = (
    partial(ggufjac.analyze, prompt=PROMPT, top=2, verify=False),
    partial(ggufjac.attribute, prompt=PROMPT, verify=False),
    partial(ggufjac.layers, prompt=PROMPT, top=2),
    partial(ggufjac.ablate, prompt=PROMPT),
    partial(ggufjac.answer, prompt=PROMPT, tokens=2, verify=False),
    partial(ggufjac.extremes, prompt=PROMPT, top=2),
)


class Damage:
    """A good file, and ways to damage a copy of it."""

    def __init__(self, path: Path) -> None:
        self.good = path.read_bytes()
        with GGUFFile.open(path) as file:
            self.entries = list(file.metadata.entries.values())
            self.tensors = list(file.tensors.values())
            self.header = min(info.offset for info in self.tensors)

    def damaged(self, rng: np.random.Generator) -> bytes:
        data = bytearray(self.good)
        ways = (self._key, self._key, self._key_name, self._byte, self._weights, self._scale, self._cut)
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            data = ways[int(rng.integers(len(ways)))](data, rng)
        return bytes(data)

    def _key(self, data: bytearray, rng: np.random.Generator) -> bytearray:
        """A number of the metadata becomes another."""
        entry = self.entries[int(rng.integers(len(self.entries)))]
        kind = entry.item if entry.type is ValueType.ARRAY and entry.item is not None else entry.type
        if kind not in DTYPES:
            return self._byte(data, rng)
        dtype = DTYPES[kind]
        values = FLOATS if dtype.kind == "f" else INTEGERS
        value = np.array(values[int(rng.integers(len(values)))])
        at = entry.offset + dtype.itemsize * int(rng.integers(max(1, entry.count)))
        with np.errstate(all="ignore"):
            packed = (value if dtype.kind == "f" else value & (256**dtype.itemsize // 2 - 1)).astype(dtype).tobytes()
        data[at : at + len(packed)] = packed
        return data

    def _key_name(self, data: bytearray, rng: np.random.Generator) -> bytearray:
        """A key becomes one that nobody knows."""
        entry = self.entries[int(rng.integers(len(self.entries)))]
        (length,) = struct.unpack_from("<Q", data, entry.start)
        data[entry.start + 8 + int(rng.integers(max(1, length)))] = ord("z")
        return data

    def _byte(self, data: bytearray, rng: np.random.Generator) -> bytearray:
        data[int(rng.integers(min(self.header, len(data))))] = int(rng.integers(256))
        return data

    def _weights(self, data: bytearray, rng: np.random.Generator) -> bytearray:
        """A stretch of the weights becomes noise, ones or zeros."""
        start = int(rng.integers(self.header, len(self.good)))
        n = min(int(rng.choice([1, 4, 64, 4096, 1 << 20])), len(data) - start)
        if n > 0:
            what = int(rng.integers(3))
            data[start : start + n] = rng.bytes(n) if what == 0 else bytes([255 * (what == 1)]) * n
        return data

    def _scale(self, data: bytearray, rng: np.random.Generator) -> bytearray:
        """All numbers of a tensor are multiplied."""
        info = self.tensors[int(rng.integers(len(self.tensors)))]
        if info.type.name != "F32" or info.offset + info.nbytes > len(data):
            return self._weights(data, rng)
        values = np.frombuffer(data, np.float32, info.n_weights, info.offset)
        with np.errstate(all="ignore"):
            scaled = values * np.float32(rng.choice([0, -1, 1e-30, 1e10, 1e20, 3e38]))
        data[info.offset : info.offset + info.nbytes] = scaled.astype(np.float32).tobytes()
        return data

    def _cut(self, data: bytearray, rng: np.random.Generator) -> bytearray:
        return data[: int(rng.integers(len(data)))] if rng.random() < 0.3 else self._key(data, rng)


@cache
def damage_of(family: str, folder: Path) -> Damage:
    return Damage(make(family, folder / f"{family}.gguf"))


def attempt(seed: int, families: tuple[str, ...], folder: Path) -> str:
    """What came of the file number `seed`: "report", "refused", or what is wrong."""
    rng = np.random.default_rng(seed)
    family = families[seed % len(families)]
    path = folder / "mutant.gguf"
    path.write_bytes(damage_of(family, folder).damaged(rng))
    analysis = ANALYSES[int(rng.integers(len(ANALYSES)))]
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), torch.no_grad(), Model.open(path) as model:
            result = analysis(model)
            Console(file=said, width=100).print(result)
    except UserError as error:
        return "refused" if str(error) and "\n" not in str(error) else f"a refusal of several lines: {error!r}"
    except Exception:
        return f"{family}: {traceback.format_exc()}"
    text = said.getvalue().replace(str(path), "")
    wrong = NO_NUMBER.search(text)
    return "report" if wrong is None else f"{family}: {text[max(0, wrong.start() - 200) : wrong.end() + 50]}"


def _work(seeds: range, families: tuple[str, ...], most: int, said: Any) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if most:
            resource.setrlimit(resource.RLIMIT_AS, (most << 30, most << 30))
        for seed in seeds:
            said.send((seed, None))
            said.send((seed, attempt(seed, families, Path(folder))))


def campaign(first: int, files: int, families: tuple[str, ...], most: int) -> Counter[str]:
    """Try so many files; what is wrong is printed as it is found."""
    counts: Counter[str] = Counter()
    context, seed, end = multiprocessing.get_context("spawn"), first, first + files
    while seed < end:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(range(seed, end), families, most, theirs), daemon=True)
        worker.start()
        theirs.close()
        wrong = "died"
        try:
            while True:
                if not ours.poll(SECONDS):
                    wrong = "hangs"
                    break
                seed, outcome = ours.recv()
                if outcome is not None:
                    counts[outcome if outcome in ("report", "refused") else "wrong"] += 1
                    if outcome not in ("report", "refused"):
                        print(f"--- file {seed}: {outcome}", flush=True)
                    seed += 1
                    if (seed - first) % TOLD == 0:
                        print(f"{seed - first} files: {dict(counts)}", flush=True)
        except EOFError:
            pass
        worker.kill()
        worker.join()
        if seed < end:
            counts["wrong"] += 1
            print(
                f"--- file {seed} ({families[seed % len(families)]}): {wrong} (exit status {worker.exitcode})",
                flush=True,
            )
            seed += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first file")
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES), help="(default: all of them)")
    parser.add_argument("--memory", type=int, default=MOST_GIB, help="GiB a worker may map (0: any; for sanitizers)")
    args = parser.parse_args()
    families, since = tuple(args.family or sorted(FAMILIES)), time.monotonic()
    counts = campaign(args.seed, args.files, families, args.memory)
    told = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
    print(f"{counts.total()} files of {len(families)} families in {time.monotonic() - since:.0f} s: {told}")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
