"""A result of every kind, from a small model, and the same with token texts that would break a careless page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch

from conftest import IDS
from ggufjac.analyses.ablation import Options as AblationOptions
from ggufjac.analyses.ablation import ablate
from ggufjac.analyses.attribution import Options as AttributionOptions
from ggufjac.analyses.attribution import attribute
from ggufjac.analyses.comparison import Options as ComparisonOptions
from ggufjac.analyses.comparison import compare
from ggufjac.analyses.explanation import explain
from ggufjac.analyses.extremes import Options as ExtremesOptions
from ggufjac.analyses.extremes import extremes
from ggufjac.analyses.judging import ask_llama
from ggufjac.analyses.layers import Options as LayersOptions
from ggufjac.analyses.layers import layers
from ggufjac.analyses.ordinary import Options as OrdinaryOptions
from ggufjac.analyses.ordinary import ordinary
from ggufjac.analyses.planning import plan
from ggufjac.analyses.prediction import Options, analyze
from ggufjac.analyses.result import Result
from ggufjac.analyses.steering import Options as SteeringOptions
from ggufjac.analyses.steering import steer
from ggufjac.analyses.text import Piece
from ggufjac.maps.model import Model

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


def every(model: Model) -> dict[str, Result]:
    """A result of every kind at one prompt, by its kind."""
    prompt = IDS[:6]
    with torch.no_grad():
        made: list[Result] = [
            analyze(model, prompt, Options(top=4), lambda linear: ask_llama(model, linear, 1)),
            layers(model, prompt, LayersOptions(top=3, what=("layer", "attn", "mlp"), layerwise=True)),
            attribute(model, prompt, AttributionOptions(top=3)),
            ablate(model, prompt, AblationOptions(components=2)),
            ordinary(model, prompt, OrdinaryOptions(top=3)),
            extremes(model, prompt, ExtremesOptions(top=3)),
            plan(model, 4),
            compare((model, model), (prompt,), ComparisonOptions(top=3)),
            explain(model, prompt),
            steer(model, prompt, IDS[6:9], SteeringOptions(strengths=(0.5, 1.0), tokens=4)),
        ]
    return {result.kind: result for result in made}


def nasty(result: Result) -> Result:
    """The same result, its tokens' texts, prompt and model name taken from NASTY in turn."""
    changed: Result = _changed(result, cycle(NASTY))
    texts = {"prompt": "".join(NASTY)} if hasattr(result, "prompt") else {}
    return dataclasses.replace(changed, **texts)


def _changed(value: Any, texts: Iterator[str]) -> Any:
    if isinstance(value, Piece):
        return Piece(value.id, next(texts))
    if isinstance(value, tuple):
        return tuple(_changed(item, texts) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name != "arrays"]
        new = {name: _changed(getattr(value, name), texts) for name in fields}
        if "architecture" in new:
            new["name"] = next(texts)
        return dataclasses.replace(value, **new)
    return value
