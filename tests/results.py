"""A result of every kind, from a small model, and the same with token texts that would break a careless page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from conftest import IDS
from ggufjac.analyses.ablate import ablate
from ggufjac.analyses.analyze import analyze
from ggufjac.analyses.answer.answering import answer
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.compare.comparison import compare
from ggufjac.analyses.compare.tensors import TensorComparison, compare_tensors
from ggufjac.analyses.extremes import extremes
from ggufjac.analyses.judge.explain import explain
from ggufjac.analyses.layers import layers
from ggufjac.analyses.lens.comparison import lens_compare
from ggufjac.analyses.lens.corpus import Corpus
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import (
    LensCompareOptions,
    LensFitOptions,
    LensReadOptions,
    LensSwapOptions,
    LensVectorsOptions,
)
from ggufjac.analyses.lens.read import lens as lens_read
from ggufjac.analyses.lens.swap import lens_swap
from ggufjac.analyses.lens.vectors import lens_vectors
from ggufjac.analyses.options import (
    AblateOptions,
    AnalyzeOptions,
    AnswerOptions,
    AttributeOptions,
    CompareOptions,
    CompareTensorsOptions,
    ExplainOptions,
    ExtremesOptions,
    LayersOptions,
    OrdinaryOptions,
    PatchOptions,
    SteerOptions,
    SteerPairsOptions,
    SteerWordsOptions,
)
from ggufjac.analyses.ordinary import ordinary
from ggufjac.analyses.patch import patch
from ggufjac.analyses.plan import plan
from ggufjac.analyses.steer.pairs import steer_pairs
from ggufjac.analyses.steer.steering import steer
from ggufjac.analyses.steer.words import steer_words
from ggufjac.analyses.table import KINDS
from ggufjac.maps.model import Model
from tinymodels import make

#: Texts that mean something to HTML, to rich, to matplotlib, to a terminal, or to a reader of another script.
NASTY = (
    "<script>window.broken=1</script>",
    "[/INST]",
    "&amp; &lt;",
    '"\' onmouseover="window.broken=1"',
    "\x00\x1b[31m",
    "\n\n",
    " ",
    "",
    "שלום עולם",
    "\u202edesrever",
    "日本語",
    "😀👩‍👩‍👧",
    "$x_1$",
    "{brace} %s ${title}",
    "</style></p>",
    "a" * 80,
    "\\xff",
    "\ue000",
    "\udc80",
    "-->",
)

#: The lenses that need no file.
LENSES = ("logit", "own", "corpus")


def precise(model: Model) -> dict[str, Result]:
    """A result of every kind in float64."""
    return every(model, dtype="float64")


def every(model: Model, **how: Any) -> dict[str, Result]:
    """A result of every kind at one prompt, by its kind; how: options of all of them."""
    return {kind: compute(model, kind, **how) for kind in KINDS}


def compute(model: Model, kind: str, **how: Any) -> Result:
    """A result of one kind."""
    prompt = IDS[:6]
    scratch = TemporaryDirectory()
    lens = Path(scratch.name) / "lens.pt"
    made: dict[str, Callable[[], Result]] = {
        "analysis": lambda: analyze(model, prompt, AnalyzeOptions(top=4, **how)),
        "layers": lambda: layers(
            model, prompt, LayersOptions(top=3, what=("layer", "attn", "mlp"), layerwise=True, **how)
        ),
        "attribution": lambda: attribute(model, prompt, AttributeOptions(top=3, heads=3, **how)),
        "answer": lambda: answer(model, prompt, AnswerOptions(tokens=3, rivals="all", **how)),
        "ablation": lambda: ablate(model, prompt, AblateOptions(components=2, **how)),
        "ordinary": lambda: ordinary(model, prompt, OrdinaryOptions(top=3, **how)),
        "extremes": lambda: extremes(model, prompt, ExtremesOptions(top=3, **how)),
        "plan": lambda: plan(model, 4, memory=1 << 28),
        "comparison": lambda: compare((model, model), (prompt,), CompareOptions(top=3, **how)),
        "tensor-comparison": lambda: _tensors(model, Path(scratch.name), CompareTensorsOptions(fail_above=0.01, **how)),
        "explanation": lambda: explain(model, prompt, ExplainOptions(**how)),
        "lens": lambda: lens_read(
            model, prompt, LensReadOptions(target=IDS[6], prompts=2, length=12, skip=3, **how), lenses=LENSES
        ),
        "lens-swap": lambda: lens_swap(model, prompt, lens, 300, 42, LensSwapOptions(tokens=4, **how)),
        "lens-vectors": lambda: lens_vectors(model, lens, LensVectorsOptions(tokens=(300,), layers=(0, 1), **how)),
        "lens-comparison": lambda: lens_compare(lens, lens, model, options=LensCompareOptions(**how)),
        "patch": lambda: patch(
            model, prompt, [*IDS[:2], IDS[8], *IDS[3:6]], PatchOptions(target=IDS[6], against=IDS[7], heads=True, **how)
        ),
        "steering-pairs": lambda: steer_pairs(
            model,
            (IDS[:4], IDS[2:7], IDS[1:5]),
            (IDS[5:9], IDS[6:10], IDS[7:9]),
            prompt,
            SteerPairsOptions(strengths=(1.0, 2.0), tokens=4, neutral=("the bridge",), **how),
        ),
        "steering-words": lambda: steer_words(
            model,
            None,
            prompt,
            SteerWordsOptions(say=("#300",), strengths=(0.5, 1.0), tokens=4, more=(IDS[6:9],), **how),
        ),
        "steering": lambda: steer(model, prompt, IDS[6:9], SteerOptions(strengths=(0.5, 1.0), tokens=4, **how)),
    }
    with torch.no_grad(), scratch:
        if kind.startswith("lens-"):
            fit(model, Corpus((tuple(IDS),), "ids"), LensFitOptions(prompts=1, length=len(IDS), skip=2, **how), lens)
        return made[kind]()


def _tensors(model: Model, folder: Path, options: CompareTensorsOptions) -> TensorComparison:
    """From the model, which is the tiny llama, to the same with coarser matrices and biases."""
    names = [name for name, info in model.file.tensors.items() if len(info.plain_shape) > 1]
    packed = dict.fromkeys(names, "Q4_0") | {"blk.0.attn_v.bias": "BF16"}
    make("llama", folder / "other.gguf", attention_bias=True, mlp_bias=True, packed=packed)
    with Model.open(folder / "other.gguf") as other:
        return compare_tensors(model, other, (IDS[:6], IDS[2:9]), options)


def nasty(result: Result) -> Result:
    """The same result, its tokens' texts, prompt and model name taken from NASTY in turn."""
    changed: Result = _changed(result, cycle(NASTY))
    texts = {"prompt": "".join(NASTY)} if hasattr(result, "prompt") else {}
    return dataclasses.replace(changed, **texts)


def _changed(value: Any, texts: Iterator[str]) -> Any:
    if isinstance(value, Piece):
        return Piece(value.id, next(texts))
    if isinstance(value, Word):
        return Word(next(texts), value.start, value.stop)
    if isinstance(value, tuple):
        return tuple(_changed(item, texts) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name != "arrays"]
        new = {name: _changed(getattr(value, name), texts) for name in fields}
        if "architecture" in new:
            new["name"] = next(texts)
        return dataclasses.replace(value, **new)
    return value
