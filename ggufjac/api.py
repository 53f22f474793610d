"""The analyses as plain functions: a model, a prompt, and options by name.

    model = ggufjac.open("smollm2-135m")
    ggufjac.layers(model, "The bridge out of Marin is the", top=4, target=" only")

The options of each are a record in ggufjac.analyses.options, which says what they mean. A token is given by its text,
as "#ID" or by its id, a dtype by its name or as torch's, and a model also by what `ggufjac.open` takes; it is then open
for that call alone. Each function returns its result, a frozen dataclass that shows itself, draws itself (`plot`) and
can be saved. Raises UserError for whatever the command line would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from ggufjac.analyses.table import COMMANDS
from ggufjac.chat.prompt import Prompt
from ggufjac.errors import UserError
from ggufjac.option import taking, taking_after_three

if TYPE_CHECKING:
    from ggufjac.analyses.ablate import Ablation
    from ggufjac.analyses.analyze import Analysis
    from ggufjac.analyses.answer.answering import Answer
    from ggufjac.analyses.attribute import Attribution
    from ggufjac.analyses.common.result import Result
    from ggufjac.analyses.common.stopwatch import Progress
    from ggufjac.analyses.compare.comparison import Comparison
    from ggufjac.analyses.compare.tensors import TensorComparison
    from ggufjac.analyses.extremes import Extremes
    from ggufjac.analyses.judge.explain import Explanation
    from ggufjac.analyses.layers import Layers
    from ggufjac.analyses.lens.read import LensGrids
    from ggufjac.analyses.ordinary import Ordinary
    from ggufjac.analyses.patch import Patching
    from ggufjac.analyses.steer.pairs import SteeredPairs
    from ggufjac.analyses.steer.steering import Steered
    from ggufjac.analyses.steer.words import SteeredWords
    from ggufjac.chat.prompt import PromptLike
    from ggufjac.maps.lens.lens import Lens
    from ggufjac.maps.model import Model

    Source = Model | str | Path


@taking(AnalyzeOptions)
def analyze(model: Source, prompt: PromptLike, options: AnalyzeOptions) -> Analysis:
    """What is predicted, by which tokens, through which singular vectors; llama.cpp is asked for its own prediction."""
    result: Analysis = _run("analyze", model, (prompt,), options)
    return result


@taking(AnswerOptions)
def answer(model: Source, prompt: Prompt, options: AnswerOptions) -> Answer:
    """What the model answers, or what it is given to have answered, every token of it explained."""
    result: Answer = _run("answer", model, (prompt,), options)
    return result


@taking(LayersOptions)
def layers(model: Source, prompt: PromptLike, options: LayersOptions) -> Layers:
    """How the prediction emerges, layer by layer."""
    result: Layers = _run("layers", model, (prompt,), options)
    return result


@taking(AttributeOptions)
def attribute(model: Source, prompt: PromptLike, options: AttributeOptions) -> Attribution:
    """Which tokens make a logit, through what."""
    result: Attribution = _run("attribute", model, (prompt,), options)
    return result


@taking(AblateOptions)
def ablate(model: Source, prompt: PromptLike, options: AblateOptions) -> Ablation:
    """What is predicted without a token or a component."""
    result: Ablation = _run("ablate", model, (prompt,), options)
    return result


@taking(OrdinaryOptions)
def ordinary(model: Source, prompt: PromptLike, options: OrdinaryOptions) -> Ordinary:
    """The detached Jacobian beside the ordinary one."""
    result: Ordinary = _run("ordinary", model, (prompt,), options)
    return result


@taking(ExtremesOptions)
def extremes(model: Source, prompt: PromptLike, options: ExtremesOptions) -> Extremes:
    """The longest columns and rows of each token's map."""
    result: Extremes = _run("extremes", model, (prompt,), options)
    return result


@taking(ExplainOptions)
def explain(model: Source, prompt: PromptLike, options: ExplainOptions) -> Explanation:
    """Which roundings of llama.cpp moved its prediction."""
    result: Explanation = _run("explain", model, (prompt,), options)
    return result


@taking_after_three(PatchOptions)
def patch(model: Source, clean: PromptLike, corrupt: PromptLike, options: PatchOptions) -> Patching:
    """Where two prompts come to differ: the clean one's values put into the corrupt one's run, place by place."""
    result: Patching = _run("patch", model, (clean, corrupt), options)
    return result


@taking_after_three(SteerOptions)
def steer(model: Source, concept: PromptLike, prompt: PromptLike, options: SteerOptions) -> Steered:
    """What a prompt goes on with, pushed by the map of a concept."""
    result: Steered = _run("steer", model, (concept, prompt), options)
    return result


def steer_pairs(
    model: Source, positive: Sequence[PromptLike], negative: Sequence[PromptLike], prompt: PromptLike, **options: Any
) -> SteeredPairs:
    """What a prompt goes on with, pushed along what sets the positive texts apart from the negative ones, or freed of
    it. options: those of `ggufjac.analyses.options.SteerPairsOptions`, by their names."""
    from ggufjac.option import require_known

    require_known(SteerPairsOptions, options)
    chosen = SteerPairsOptions(**options)
    result: SteeredPairs = _run("steer_pairs", model, (positive, negative, prompt), chosen)
    return result


def steer_words(
    model: Source, prompt: PromptLike, *, concept: PromptLike | None = None, **options: Any
) -> SteeredWords:
    """What a prompt goes on with, pushed towards words: say=(" wedding",), or a concept prompt's own. options: those of
    `ggufjac.analyses.options.SteerWordsOptions`, by their names."""
    from ggufjac.option import require_known

    require_known(SteerWordsOptions, options)
    result: SteeredWords = _run("steer_words", model, (concept, prompt), SteerWordsOptions(**options))
    return result


@taking(CompareOptions)
def compare(
    models: Source | Sequence[Source], prompts: PromptLike | Sequence[PromptLike], options: CompareOptions
) -> Comparison:
    """Prompts and models beside each other, one or several of each.

    A list of token ids is one prompt, and a list of texts, of lists or of `Prompt`s several.
    """
    several = _several(prompts)
    sources = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(source)) for source in sources]
        if not opened:
            raise UserError("there is no model to compare")
        result: Comparison = _computed("compare", opened, (several,), options)
    return result


def compare_tensors(
    one: Source, other: Source, prompts: PromptLike | Sequence[PromptLike], **options: Any
) -> TensorComparison:
    """What each tensor did to predictions, from one quantisation of a model to another. prompts: as for `compare`;
    options: those of `ggufjac.analyses.options.CompareTensorsOptions`, by their names."""
    from ggufjac.option import require_known

    require_known(CompareTensorsOptions, options)
    chosen = CompareTensorsOptions(**options)
    with _opened(one) as first, _opened(other) as second:
        result: TensorComparison = _computed("compare_tensors", first, (second, _several(prompts)), chosen)
    return result


def _several(prompts: Any) -> Any:
    """One prompt or several as several."""
    one = isinstance(prompts, str | Prompt) or (len(prompts) > 0 and all(isinstance(p, int) for p in prompts))
    return [prompts] if one else prompts


def fit_lens(
    model: Source,
    documents: Sequence[str | Sequence[int]] | None = None,
    /,
    out: str | Path | None = None,
    **options: Any,
) -> Lens:
    """A lens fitted over documents, texts or token ids, that are cut into pieces of `length` tokens (None: over what
    the model says by itself).

    out: where the fit is kept, so that the same call goes on where it was interrupted. options: those of
    `ggufjac.analyses.lens.options.LensFitOptions`, by their names.
    """
    import torch

    from ggufjac.analyses.lens.corpus import corpus_of, own_words
    from ggufjac.analyses.lens.fit import fit
    from ggufjac.analyses.lens.options import LensFitOptions
    from ggufjac.option import require_known

    require_known(LensFitOptions, options)
    chosen = LensFitOptions(**options)
    how: dict[str, Any] = {"length": chosen.length, "seed": chosen.seed}
    with _opened(model) as opened, torch.no_grad():
        if documents is None:
            corpus = own_words(opened, chosen.prompts, device=chosen.device, **how)
        else:
            corpus = corpus_of(opened, documents, "the texts given", skip=chosen.skip, **how)
        return fit(opened, corpus, chosen, out)


def read_lens(
    model: Source, prompt: PromptLike, lenses: Sequence[str | Path | Lens] = ("logit", "own"), **options: Any
) -> LensGrids:
    """What every layer is about to say at every position, through lenses: fitted ones or their files, "logit", "own" or
    "corpus". options: those of `ggufjac.analyses.lens.options.LensReadOptions`, by their names."""
    import torch

    from ggufjac.analyses.lens.options import FREE, LensReadOptions
    from ggufjac.analyses.lens.read import lens
    from ggufjac.maps.lens.lens import Lens
    from ggufjac.option import require_known
    from ggufjac.reports import views

    views.install()
    require_known(LensReadOptions, options)
    chosen = LensReadOptions(**options)
    with _opened(model) as opened, torch.no_grad():
        named = [
            each
            if isinstance(each, str) and each in FREE
            else ("fitted", each)
            if isinstance(each, Lens)
            else (str(each), load_lens(each))
            for each in lenses
        ]
        return lens(opened, prompt, chosen, lenses=named)


def load_lens(source: str | Path) -> Lens:
    """The lens in a file: .pt as lenses are published, the state of a fit, or .safetensors. Nothing in it runs.

    Raises UserError for any other file.
    """
    from ggufjac.maps.lens.files import load_lens

    return load_lens(source)


def load(source: str | Path) -> Result:
    """The result in a file that `Result.save` or `--save` wrote, of whatever kind. Raises UserError for any other."""
    from ggufjac.analyses import table
    from ggufjac.reports import views

    views.install()
    return table.load(source)


def _run(command: str, model: Source, prompts: tuple[Any, ...], options: Any) -> Any:
    with _opened(model) as opened:
        return _computed(command, opened, prompts, options)


def _computed(command: str, opened: Any, prompts: tuple[Any, ...], options: Any) -> Any:
    import torch

    from ggufjac.reports import views

    views.install()
    with torch.no_grad(), _told(command, opened, prompts, options) as progress:
        return COMMANDS[command].function(opened, *prompts, options, progress)


@contextmanager
def _told(command: str, opened: Any, prompts: tuple[Any, ...], options: Any) -> Iterator[Progress]:
    """Who is told how an analysis goes on: nobody, unless the options say so."""
    from ggufjac.analyses.common.stopwatch import silent

    if not options.progress:
        yield silent
        return
    from ggufjac.reports import progress

    if command in ("explain", "patch", "steer_pairs", "steer_words", "compare_tensors"):  # what cannot be planned
        with progress.watched(command) as tracker:
            yield tracker
        return
    pairs = [(m, p) for m in opened for p in prompts[0]] if command == "compare" else [(opened, prompts[0])]
    with progress.analysis_watched(command, command, pairs, options) as tracker:
        yield tracker


@contextmanager
def _opened(model: Source) -> Iterator[Model]:
    """A model as it is, or one that is open for as long as it is needed."""
    from ggufjac.maps.model import Model

    if isinstance(model, Model):
        yield model
        return
    from ggufjac.registry import resolve

    with Model.open(resolve(str(model))) as opened:
        yield opened
