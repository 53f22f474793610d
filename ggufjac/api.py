"""The analyses as plain functions: a model, a prompt, and options by name.

    model = ggufjac.open("smollm2-135m")
    ggufjac.layers(model, "The bridge out of Marin is the", top=4, target=" only")

The options are the fields of the analysis's `Options` (ggufjac.analyses); here a token may also be given by its text, a
dtype by its name, and a model by what `ggufjac.open` takes. Each returns its result, a frozen dataclass that shows
itself, draws itself (`plot`) and can be saved. Raises UserError for whatever the command line would refuse.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.ablation import Ablation
    from ggufjac.analyses.attribution import Attribution
    from ggufjac.analyses.comparison import Comparison
    from ggufjac.analyses.explanation import Explanation
    from ggufjac.analyses.extremes import Extremes
    from ggufjac.analyses.layers import Layers
    from ggufjac.analyses.ordinary import Ordinary
    from ggufjac.analyses.prediction import Analysis
    from ggufjac.analyses.steering import Steered
    from ggufjac.maps.model import Model

    Source = Model | str | Path
    Prompt = str | list[int]

#: Options that name one token, and those that name several.
TOKEN, TOKENS = ("target", "against"), ("targets", "counted")


def analyze(model: Source, prompt: Prompt, *, verify: bool = True, **options: Any) -> Analysis:
    """What is predicted, by which input tokens, through which singular vectors: `ggufjac analyze`.

    verify: ask llama.cpp for its own prediction. options: of ggufjac.analyses.prediction.Options.
    """
    import torch

    from ggufjac.analyses.following import beside_exact
    from ggufjac.analyses.judging import ask_llama
    from ggufjac.analyses.prediction import Options
    from ggufjac.analyses.prediction import analyze as run

    with _opened(model) as opened, torch.no_grad():
        chosen = _options(opened, Options, options)

        def judge(linear: Any) -> Any:
            if not verify:
                return None, "verify=False"
            if chosen.run == "llama.cpp":
                return beside_exact(opened, linear), ""
            return ask_llama(opened, linear, torch.get_num_threads())

        return run(opened, prompt, chosen, judge)


def layers(model: Source, prompt: Prompt, **options: Any) -> Layers:
    """How the prediction emerges, layer by layer. options: of ggufjac.analyses.layers.Options."""
    result: Layers = _run("layers", "layers", model, prompt, options)
    return result


def attribute(model: Source, prompt: Prompt, **options: Any) -> Attribution:
    """Which tokens make a logit, through what. options: of ggufjac.analyses.attribution.Options."""
    result: Attribution = _run("attribution", "attribute", model, prompt, options)
    return result


def ablate(model: Source, prompt: Prompt, **options: Any) -> Ablation:
    """What is predicted without a token or a component. options: of ggufjac.analyses.ablation.Options."""
    result: Ablation = _run("ablation", "ablate", model, prompt, options)
    return result


def ordinary(model: Source, prompt: Prompt, **options: Any) -> Ordinary:
    """The detached Jacobian beside the ordinary one. options: of ggufjac.analyses.ordinary.Options."""
    result: Ordinary = _run("ordinary", "ordinary", model, prompt, options)
    return result


def extremes(model: Source, prompt: Prompt, **options: Any) -> Extremes:
    """The longest columns and rows of each token's map. options: of ggufjac.analyses.extremes.Options."""
    result: Extremes = _run("extremes", "extremes", model, prompt, options)
    return result


def explain(model: Source, prompt: Prompt, **options: Any) -> Explanation:
    """Which roundings of llama.cpp moved its prediction. options: of ggufjac.analyses.explanation.Options."""
    result: Explanation = _run("explanation", "explain", model, prompt, options)
    return result


def compare(models: Source | Sequence[Source], prompts: Prompt | Sequence[Prompt], **options: Any) -> Comparison:
    """Prompts and models beside each other, one or several of each. options: of ggufjac.analyses.comparison.Options.

    A list of token ids is one prompt, and a list of texts or of lists several.
    """
    import torch

    from ggufjac.analyses.comparison import Options
    from ggufjac.analyses.comparison import compare as run

    several: Any = (
        prompts if not isinstance(prompts, str) and not all(isinstance(p, int) for p in prompts) else [prompts]
    )
    sources = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    with ExitStack() as stack, torch.no_grad():
        opened = [stack.enter_context(_opened(source)) for source in sources]
        if not opened:
            raise UserError("there is no model to compare")
        return run(opened, several, _options(opened[0], Options, options))


def steer(model: Source, concept: Prompt, prompt: Prompt, **options: Any) -> Steered:
    """What a prompt goes on with, pushed by the map of a concept. options: of ggufjac.analyses.steering.Options."""
    import torch

    from ggufjac.analyses.steering import Options
    from ggufjac.analyses.steering import steer as run

    with _opened(model) as opened, torch.no_grad():
        return run(opened, concept, prompt, _options(opened, Options, options))


def _run(module: str, name: str, model: Source, prompt: Prompt, options: dict[str, Any]) -> Any:
    import torch

    analysis = importlib.import_module(f"ggufjac.analyses.{module}")
    function: Callable[..., Any] = getattr(analysis, name)
    with _opened(model) as opened, torch.no_grad():
        return function(opened, prompt, _options(opened, analysis.Options, options))


@contextmanager
def _opened(model: Source) -> Iterator[Model]:
    """A model as it is, or one that is open for as long as it is needed."""
    from ggufjac.maps.model import Model

    if isinstance(model, Model):
        yield model
        return
    import ggufjac

    with ggufjac.open(model) as opened:
        yield opened


def _options(model: Model, kind: type[Any], given: dict[str, Any]) -> Any:
    """The options of one analysis, with texts in place of token ids and of dtypes understood."""
    from ggufjac.maps.model import DTYPES

    known = [field.name for field in fields(kind)]
    strange = [name for name in given if name not in known]
    if strange:
        raise UserError(f"there is no option {strange[0]!r}; there are {', '.join(known)}")
    chosen = dict(given)
    dtype = chosen.get("dtype")
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise UserError(f"dtype: {dtype!r} is not supported; use {', '.join(DTYPES)}")
        chosen["dtype"] = DTYPES[dtype]
    for name in TOKEN:
        if isinstance(chosen.get(name), str):
            chosen[name] = _token(model, chosen[name], name)
    for name in TOKENS:
        if isinstance(chosen.get(name), str | Sequence):
            texts = [chosen[name]] if isinstance(chosen[name], str) else chosen[name]
            chosen[name] = tuple(_token(model, text, name) if isinstance(text, str) else text for text in texts)
    return kind(**chosen)


def _token(model: Model, text: str, option: str) -> int:
    from ggufjac.analyses.targets import token_called

    return token_called(model, text, option)
