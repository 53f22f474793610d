"""Whole answers: whether they are llama.cpp's, whether their terms are right, and what they cost.

    python -m benchmarks answer                        # ten questions to SmolLM2, each as a chat
    python -m benchmarks answer --models FILE ...      # to other models
    python -m benchmarks answer --sizes FILE:P/N ...   # time and memory of N tokens behind P, in a budget of 2 GiB

The baseline is what one has without it: an account of every token by itself, a map and a sweep for each.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch

from benchmarks.ablate import TEXT
from benchmarks.table import Table
from ggufjac.analyses.answer.answering import Answer, answer
from ggufjac.analyses.common.questions import ask, functionals
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import AnswerOptions
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

QUESTIONS = (
    "What is the capital of France?",
    "Is the Sun bigger than the Earth? Answer with one word.",
    "How many days are in a week?",
    "Write a haiku about rain.",
    "Translate to German: good morning",
    "What does print(len('abc')) print in Python?",
    "Name three primary colours.",
    "Why is the sky blue? One sentence.",
    "What is 7 times 8?",
    "Write a Python function that returns the larger of two numbers.",
)
#: Tokens of an answer.
SAID = 24
#: Who is asked, and who reads long prompts.
MODELS, LONG = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"), "qwen2.5-coder-0.5b"
#: Bytes that the accounts of long texts may take beside the file.
BUDGET = 2 << 30
QUESTION = (
    *("model", "question", "tokens", "llama.cpp's own answer", "terms miss the logit by", "apart from one by one"),
    *("together, s", "one by one, s", "ratio"),
)
SIZE = (
    *("model", "prompt / answer", "rivals", "answering, s", "accounts, s", "rivals, s", "all, s", "peak GiB"),
    *("accounts one by one, s", "ratio"),
)


def questions(models: Sequence[str]) -> Iterator[list[str]]:
    for name in models:
        with Model.open(resolve(name)) as model:
            for question in QUESTIONS:
                yield _question(model, question)


def _question(model: Model, question: str) -> list[str]:
    prompt = model.chat(question)
    options = AnswerOptions(tokens=SAID, above="zero", rules="detached", rivals="none")
    with torch.no_grad():
        found = answer(model, prompt, options)
        missed = max(abs(said.account.missed) / abs(said.account.question.value) for said in found.said)
        since = time.perf_counter()
        answer(model, prompt, replace(options, say=None, verify=False))
        together = time.perf_counter() - since
        since = time.perf_counter()
        apart = _one_by_one(model, found)
        alone = time.perf_counter() - since
    return [
        model.file.path.stem,
        question,
        str(len(found.said)),
        _opinion(model, found),
        f"{missed:.1e}",
        f"{apart:.1e}",
        f"{together:.2f}",
        f"{alone:.2f}",
        f"{alone / together:.1f}x",
    ]


def _one_by_one(model: Model, found: Answer) -> float:
    """The largest difference of any token's term from that of a map of its own, over the largest term there."""
    worst = 0.0
    ids = [piece.id for piece in found.tokens]
    for said in found.said:
        subject = Subject(model, ids[: said.position], AnswerOptions(rules=found.rules))
        asked = ask(subject.linear.logits, subject.speller, said.token.token.id, "zero", None)
        w, _ = functionals(subject.linear, (asked,))
        terms = subject.linear.attribute(w)[0, :-1]
        ours = torch.tensor(said.account.terms, dtype=terms.dtype)
        worst = max(worst, float((terms - ours).abs().max() / terms.abs().max()))
    return worst


def _opinion(model: Model, found: Answer) -> str:
    """llama.cpp's greedy answer, token by token: the same, or where it parts and why."""
    ids = [piece.id for piece in found.tokens]
    ours = ids[found.n_prompt :]
    with Runner(model.file.path, len(ids) + 8, watched=False) as llama:
        ends = partial(_ends, model)
        theirs = list(llama.goes_on(ids[: found.n_prompt], len(ours), lambda row: int(row.argmax()), ends))
    if theirs == ours:
        return "the same"
    at = next(i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1])
    assert found.judged is not None
    if found.n_prompt + at not in found.judged.close:
        return f"parts at token {at + 1}: WRONG"
    row = found.arrays["logits"][at]
    pieces = [model.vocab.piece(token).decode("utf-8", "replace") for token in (ours[at], theirs[at])]
    margin = float(row[ours[at]] - row[theirs[at]])
    return f"parts at token {at + 1}, a near-tie: {pieces[0]!r} over {pieces[1]!r} by {margin:.2f}"


def _ends(model: Model, token: int) -> bool:
    return token < model.vocab.n_tokens and model.vocab.ends_text(token)


def sizes(asked: Sequence[str]) -> Iterator[list[str]]:
    for case in asked:
        path, _, lengths = case.rpartition(":")
        n_prompt, n_said = map(int, lengths.split("/"))
        with Model.open(resolve(path)) as model:
            yield _size(model, n_prompt, n_said)


def _size(model: Model, n_prompt: int, n_said: int) -> list[str]:
    ids = model.tokenize(TEXT)
    ids = (ids * (1 + n_prompt // len(ids)))[:n_prompt]
    options = AnswerOptions(tokens=n_said, memory=BUDGET, verify=False)
    with torch.no_grad():
        since = time.perf_counter()
        found = answer(model, ids, options)
        took = time.perf_counter() - since
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        since = time.perf_counter()
        tokens = [piece.id for piece in found.tokens]
        for said in (found.said[0], found.said[-1]):
            subject = Subject(model, tokens[: said.position], options)
            asked = ask(subject.linear.logits, subject.speller, said.token.token.id, "chance", None)
            w, _ = functionals(subject.linear, (asked,))
            subject.linear.attribute(w)
        alone = (time.perf_counter() - since) / 2 * len(found.said)
    seconds = found.seconds
    accounts = seconds["forward pass"] + seconds["accounts"]
    rivals = seconds.get("forward pass for rivals", 0.0) + seconds.get("rivals", 0.0)
    n_rivals = sum(said.tipped is not None for said in found.said)
    return [
        model.file.path.stem,
        f"{n_prompt} / {len(found.said)}",
        str(n_rivals),
        f"{seconds['answering']:.1f}",
        f"{accounts:.1f}",
        f"{rivals:.1f}",
        f"{took:.1f}",
        f"{peak:.2f}",
        f"{alone:.1f}",
        f"{alone / accounts:.1f}x",
    ]


def cases() -> Iterator[str]:
    """The sizes that are measured where the model for them is on this disk."""
    with suppress(UserError):
        resolve(LONG)
        yield from (f"{LONG}:{lengths}" for lengths in ("50/20", "400/60", "1500/100"))


def there() -> Iterator[str]:
    """The models that are asked, as far as they are on this disk."""
    for name in MODELS:
        with suppress(UserError):
            resolve(name)
            yield name


def size_table(asked: Sequence[str]) -> Table:
    about = (
        f"{torch.get_num_threads()} threads, float32, a budget of 2 GiB; accounts of ln p by lrp-qk, rivals where"
        " another token had 1%. One by one: the first token's and the last one's alone, times as many."
    )
    return Table(SIZE, sizes(asked), about, left=2)


def question_table(models: Sequence[str]) -> Table:
    about = f"{torch.get_num_threads()} threads, float32, chats, {SAID} tokens at most; logits by the detached rules."
    return Table(QUESTION, questions(models), about, left=4)


def lines() -> Iterator[str]:
    """Both tables, of what is there."""
    yield from size_table(list(cases())).lines()
    yield ""
    yield from question_table(list(there())).lines()


def main() -> None:
    command = argparse.ArgumentParser(prog="python -m benchmarks answer")
    command.add_argument("--models", nargs="+", default=[], metavar="FILE")
    command.add_argument("--sizes", nargs="+", default=[], metavar="FILE:P/N")
    args = command.parse_args()
    if args.sizes:
        size_table(args.sizes).print()
    if args.models or not args.sizes:
        question_table(args.models or MODELS[:1]).print()
