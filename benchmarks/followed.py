"""llama.cpp's own run as a linear map: what recording it costs, how exactly it is followed, how it differs from exact
arithmetic.

    python -m benchmarks followed               # prints the tables and writes docs/followed-table.md
    python -m benchmarks followed cost          # prints one of them: cost, prompts, maps, families

The baseline of the cost is llama.cpp's evaluation of the same prompt in the same process that nobody watches. Real
models are run on ten prompts; of each of the most widespread families there is a small random model
(tests/tinymodels) in three quantisations, with a prompt of 40 tokens.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from benchmarks.machine import machine
from benchmarks.table import Table
from ggufjac.analyses.common.agreement import ROUNDING, compare
from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.common.followed import followed_of
from ggufjac.analyses.common.tokens import Speller
from ggufjac.analyses.compare.overlap import overlap
from ggufjac.atomic import write_text
from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.network.followed.follow import recorder
from ggufjac.network.followed.settings import LlamaSettings
from ggufjac.registry import resolve
from tinymodels import BOS, FAMILIES, VOCAB_SIZE, make

TARGET = Path(__file__).parent.parent / "docs" / "followed-table.md"
MODELS = {"smollm2-135m": "SmolLM2 135M, Q4_1", "gemma3-270m": "Gemma 3 270M, Q4_K_M"}
PROMPTS = (
    "The bridge out of Marin is the",
    "The Golden",
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return",
    "Столица Франции — это",
    "日本の首都は",
    "3.14159 * 2 = 6.28318, and 17 + 25 =",
    "Once upon a time there was a",
    "The opposite of hot is",
    "Water boils at a temperature of",
)
WIDESPREAD = ("llama", "mistral3", "qwen3", "gemma3", "phi3", "olmo2", "qwen3moe", "gpt-oss")
QUANTISED = ("Q4_K_M", "Q4_0", "Q8_0")
LENGTHS = (7, 64, 512)
TOP, WRITTEN = 8, 5


# --- what it costs --------------------------------------------------------------------------------------------


def cost_rows() -> Iterator[list[str]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, title in MODELS.items():
        with Model.open(resolve(name)) as model:
            text = "\n".join(PROMPTS)
            ids = model.ids_of(text * (1 + max(LENGTHS) // len(model.ids_of(text))))
            for n_tokens in LENGTHS:
                yield [title, *_cost(model, ids[:n_tokens])]
    torch.set_num_threads(threads)


def _cost(model: Model, ids: list[int]) -> list[str]:
    runs = 2 if len(ids) > 100 else 5
    with (
        Runner(model.file.path, len(ids), threads=1, watched=False) as plain,
        Runner(model.file.path, len(ids), threads=1) as llama,
    ):
        alone, watched = _least(
            runs, lambda: plain.logits(ids), lambda: llama.record(ids, recorder(model.family, len(ids)))
        )
        copied = llama.record(ids, recorder(model.family, len(ids))).copied
    exact, followed = _least(1, lambda: model.linearize(ids), lambda: _followed(model, ids, threads=1))
    return [
        str(len(ids)),
        f"{1e3 * alone:.0f}",
        f"{1e3 * watched:.0f}",
        f"{watched / alone:.2f}x",
        f"{copied / 1e6:.0f}",
        f"{exact:.2f}",
        f"{followed:.2f}",
    ]


def _least(runs: int, *works: Callable[[], object]) -> list[float]:
    """The least processor time of each, in seconds, in turns after a first one that does not count."""
    least = [float("inf")] * len(works)
    for run in range(runs + 1):
        for i, work in enumerate(works):
            since = time.process_time()
            work()
            if run:
                least[i] = min(least[i], time.process_time() - since)
    return least


def cost() -> Table:
    headings = (
        "model", "tokens", "llama.cpp alone, ms", "recorded, ms", "ratio", "copied, MB", "exact map, s",
        "llama.cpp's map, s",
    )  # fmt: skip
    note = (
        "Processor time, on one thread. An evaluation of the prompt by llama.cpp that nobody watches, and one of which "
        "all is copied that following it takes; then the coefficients of both linear maps, of llama.cpp's with loading "
        "and running the file there."
    )
    return Table(headings, cost_rows(), note)


# --- real models ----------------------------------------------------------------------------------------------


def _followed(model: Model, ids: list[int], threads: int | None = None) -> DetachedMap:
    settings = LlamaSettings(threads=threads or torch.get_num_threads())
    return model.linearize(ids, run="llama.cpp", threads=settings.threads, cache=settings.cache, repack=settings.repack)


def prompt_rows() -> Iterator[list[str]]:
    for name, title in MODELS.items():
        with Model.open(resolve(name)) as model:
            speller, equal = Speller(model.vocab), 0
            for prompt in PROMPTS:
                ids = model.ids_of(prompt)
                with Runner(model.file.path, len(ids), watched=False) as plain:
                    logits = plain.logits(ids)
                linear = _followed(model, ids)
                run = followed_of(linear)
                assert run is not None
                first = int(logits.argmax())
                same = run.same_first and int(linear.logits.argmax()) == first
                equal += same
                judged = compare(model.linearize(ids).logits.numpy(), logits, ROUNDING)
                yield [
                    title,
                    _quoted(prompt),
                    str(len(ids)),
                    f"{linear.reconstruction_error():.1e}",
                    f"{run.logits:.1e}",
                    f"{run.worst.relative:.1e}",
                    _quoted(speller.piece(first).text),
                    "yes" if same else "NO",
                    judged.verdict if first == judged.ours else _quoted(speller.piece(judged.ours).text),
                    f"{judged.noise:.2f}",
                ]
            yield [title, f"first token equal: {equal} of {len(PROMPTS)}", *[""] * 8]


def prompts() -> Table:
    headings = (
        "model", "prompt", "tokens", "state", "logits", "worst step", "llama.cpp's first token", "the map's",
        "exact arithmetic's", "noise",
    )  # fmt: skip
    note = (
        "state: what the linear map of llama.cpp's run misses of its final state, relative; logits: the largest "
        "difference from its logits over their spread; worst step: the largest remainder of a single step. The exact "
        "map's first token is named where it is another; noise: how far rounding moves the logits, root mean square."
    )
    return Table(headings, prompt_rows(), note, left=2)


def map_rows() -> Iterator[list[str]]:
    for name, title in MODELS.items():
        with Model.open(resolve(name)) as model:
            seen = [_apart(model, model.ids_of(prompt)) for prompt in PROMPTS]
            for prompt, numbers in zip(PROMPTS, seen, strict=True):
                yield [title, _quoted(prompt), *_shown(numbers)]
            yield [title, "median", *_shown([statistics.median(column) for column in zip(*seen, strict=True)])]


def _apart(model: Model, ids: list[int]) -> list[float]:
    """How far llama.cpp's map is from the exact one: see the headings."""
    exact, theirs = model.linearize(ids), _followed(model, ids)
    one, other = exact.svd(TOP, "combined"), theirs.svd(TOP, "combined")
    decoder = Decoder(model.family, exact.dtype)
    words = [decoder.writes(svd.U[:1], WRITTEN).ids[0].tolist() for svd in (one, other)]
    change = (other.S - one.S).abs() / one.S
    return [
        float(change[0]),
        float(change.max()),
        float((one.U[0] @ other.U[0]).abs()),
        overlap(one.U, other.U),
        overlap(one.V.flatten(1), other.V.flatten(1)),
        len(set(words[0]) & set(words[1])) / WRITTEN,
        float((exact.jacobian() - theirs.jacobian()).norm() / exact.jacobian().norm()),
        float((exact.output - theirs.output).norm() / exact.output.norm()),
    ]


def _shown(numbers: list[float]) -> list[str]:
    first, largest, cosine, left, right, words, jacobian, state = numbers
    return [
        f"{100 * first:.1f}%",
        f"{100 * largest:.1f}%",
        f"{cosine:.4f}",
        f"{left:.3f}",
        f"{right:.3f}",
        f"{WRITTEN * words:.0f} of {WRITTEN}",
        f"{100 * jacobian:.1f}%",
        f"{100 * state:.1f}%",
    ]


def maps() -> Table:
    headings = (
        "model", "prompt", "σ₁", f"σ₁ … σ_{TOP}, most", "cosine of u₁", "left subspaces", "right subspaces",
        "tokens of u₁", "‖ΔJ‖ / ‖J‖", "‖Δy‖ / ‖y‖",
    )  # fmt: skip
    note = (
        "llama.cpp's map beside the exact one: how much the singular values of the map of all tokens differ, how well "
        f"the leading {TOP} vectors agree (1: the same subspace), how many of the {WRITTEN} first tokens that u₁ "
        "writes are the same, how far the whole maps are apart, and the final states."
    )
    return Table(headings, map_rows(), note, left=2)


# --- small models ---------------------------------------------------------------------------------------------


def family_rows() -> Iterator[list[str]]:
    ids = [BOS, *np.random.default_rng(7).integers(3, VOCAB_SIZE, 39).tolist()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in WIDESPREAD:
            assert family in FAMILIES
            source = make(family, folder / "f32.gguf")
            for ftype in QUANTISED:
                quantize(source, folder / "tiny.gguf", ftype)
                with Model.open(folder / "tiny.gguf") as model:
                    linear = _followed(model, ids, threads=1)
                    run, exact = followed_of(linear), model.linearize(ids)
                    assert run is not None
                    yield [
                        family,
                        ftype,
                        f"{linear.reconstruction_error():.1e}",
                        f"{run.logits:.1e}",
                        "yes" if run.same_first else "NO",
                        f"{run.worst.relative:.1e}",
                        run.worst.part,
                        f"{float((exact.output - linear.output).norm() / linear.output.norm()):.1e}",
                    ]


def families() -> Table:
    headings = (
        "family", "weights", "state", "logits", "first token equal", "worst step", "before", "exact arithmetic's state",
    )  # fmt: skip
    note = "The last column: how far the final state of exact arithmetic is from llama.cpp's, which rounding explains."
    return Table(headings, family_rows(), note, left=2)


# --- all of it ------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, Callable[[], Table]]] = {
    "cost": ("What it costs", cost),
    "prompts": ("Ten prompts on two real models", prompts),
    "maps": ("How far the two maps differ", maps),
    "families": ("Small models of the most widespread families", families),
}


def _quoted(text: str) -> str:
    return "`" + text.replace("\n", "\\n").replace("|", "\\|") + "`"


def main() -> int:
    names = sys.argv[1:] or list(TABLES)
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        print(f"no table {unknown[0]!r}; there are: {', '.join(TABLES)}", file=sys.stderr)
        return 2
    about = "\n\n".join(text for text in (__doc__ or "").strip().split("\n\n") if not text.startswith("    "))
    lines = ["# llama.cpp's own run, measured", "", "Written by `python -m benchmarks followed`.", "", about, ""]
    lines += [f"{time.strftime('%Y-%m-%d')}: {machine()}.", ""]
    with torch.no_grad():
        for name in names:
            title, table = TABLES[name]
            lines += [f"## {title}", ""]
            print(f"\n## {title}\n", flush=True)
            for line in table().lines():
                lines.append(line)
                print(line, flush=True)
            lines.append("")
    if not sys.argv[1:]:
        write_text(TARGET, "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
