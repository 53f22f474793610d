"""What every analysis does with maps of one prompt, step by step, before it does it: what `plan` adds up.

Steps have the names under which the analyses announce them, so that a display knows how much of the whole a step is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ggufjac.analyses.options import (
    CONTRAST,
    LAYER,
    LIKELIHOOD,
    AblateOptions,
    AnalysisOptions,
    AnalyzeOptions,
    AnswerOptions,
    AttributeOptions,
    CompareOptions,
    ExtremesOptions,
    LayersOptions,
    OrdinaryOptions,
    SteerOptions,
)
from ggufjac.families import Family
from ggufjac.maps.costs.planner import Planner
from ggufjac.maps.lengths import CANDIDATES, WORTH
from ggufjac.maps.lengths import PROBES as LENGTHS
from ggufjac.maps.linear import PROBES, usual_sweeps
from ggufjac.maps.swept import FEW_GROUPS, GROUPS
from ggufjac.maps.within.writes import written
from ggufjac.operators import built

#: What the step is called that computes the full map.
FULL = "full map"
#: Questions where no target is given, tokens that `ablate` takes away, layers and strengths that `steer` tries.
QUESTIONS, TAKEN, TRIED = 4, 32, 36
#: Columns that the common search for the triplets of many places takes in each direction, for every place and triplet,
#: and those that begin it (measured: 1.8 to 3.9 on SmolLM2, 6 and 30 places, 2 and 6 triplets).
JOINT, BEGINNING = 3.0, 48
#: The share of an answer's tokens whose runner-up is close (measured: 0.4 to 0.7), and letters of a token.
CLOSE, LETTERS = 0.5, 4
#: Attention's share of what a sweep multiplies in a layer: values and output (SmolLM2: 0.2, Llama 3 8B: 0.15).
OF_HEADS = 0.2
#: Positions of texts that are run side by side.
ROWS = 256

#: pass: up the network, with coefficients; back, forward: a sweep; run: the model on changed prompts; decode: vectors
#: to tokens; llama.cpp: its own run.
Kind: TypeAlias = "Literal['pass', 'back', 'forward', 'run', 'decode', 'llama.cpp']"


@dataclass(frozen=True)
class Work:
    """A part of a step.

    lap: the step; name: what is done; columns: of every sweep, prompts that are run, or vectors that are decoded;
    sweeps: how many; rules: of the map (None: the analysis's own). share: of the layers that are met, or of the
    positions that are run. beside: whether the analysis's own map is held meanwhile. tells: whether progress is told;
    passing: of how many columns times layers (None: of all). numbers: of a column's result (None: the map's).
    """

    lap: str
    name: str
    kind: Kind
    columns: int = 1
    sweeps: int = 1
    rules: str | None = None
    share: float = 1.0
    beside: bool = False
    tells: bool = True
    passing: int | None = None
    numbers: int | None = None


class Sizes:
    """What of a planned map says how much an analysis has to do. d, n_tokens: the map's; n_layer; writes: of all
    blocks; affine: whether there are constants; resumes: whether a text can go on from kept positions."""

    def __init__(self, planner: Planner, family: Family) -> None:
        self.map = planner.map
        self.d, self.n_tokens, _ = planner.map.shape
        self.n_layer = family.n_layer
        self.writes = sum(len(written(built(op))) for op in planner.map.operators)
        self.affine = any(op.affine for op in planner.map.operators)
        self.resumes = family.resumes

    def reconstruction(self, lap: str, rules: str | None = None, *, fast: bool = False) -> Iterator[Work]:
        """The check that the map gives the output."""
        yield Work(lap, "reconstruction", "forward", min(self.n_tokens, FEW_GROUPS if fast else GROUPS), rules=rules)
        if self.affine:
            yield Work(lap, "constants", "forward", rules=rules, tells=False)

    def questions(self, lap: str, n: int) -> Iterator[Work]:
        """The terms of n functionals of the output, and what constants give to them."""
        yield Work(lap, "attribution", "back", n)
        if self.affine:
            yield Work(lap, "constants told apart", "back", n, tells=False)

    def combined(self, lap: str, k: int, rules: str | None = None, beside: bool = False) -> Iterator[Work]:
        """The k leading triplets of the map of all tokens together, decoded, and its norm."""
        block = self.map.block(k)
        half = usual_sweeps(block) // 2
        if self.map.dense_is_cheaper(block):
            yield Work(lap, FULL, "back", self.d, rules=rules, beside=beside)
            return
        for kind in ("forward", "back"):
            yield Work(lap, "triplets of all together", kind, block, half, rules, beside=beside)

    def norms(self, lap: str, k: int, rules: str | None = None) -> Iterator[Work]:
        """What `LinearMap.squared_norms` takes where the full map is not at hand."""
        if not self.map.dense_is_cheaper(self.map.block(k)):
            yield Work(lap, "norms", "back", PROBES, rules=rules)


def _account(sizes: Sizes, rules: str) -> Iterator[Work]:
    yield Work("account", f"coefficients, {rules}", "pass", rules=rules)
    yield Work("account", "words", "back", rules=rules)
    if sizes.affine:
        yield Work("account", "constants", "forward", rules=rules, tells=False)


def _analyze(sizes: Sizes, options: AnalyzeOptions) -> Iterator[Work]:
    for rules in (CONTRAST, LIKELIHOOD):
        yield from _account(sizes, rules)
    yield Work("forward pass", "coefficient pass", "pass")
    yield from sizes.questions("reconstruction", 2)
    yield from sizes.reconstruction("reconstruction", fast=options.fast)
    if options.ordinary:
        lap = "ordinary Jacobian"
        yield Work(lap, "coefficients, ordinary", "pass", rules="ordinary", beside=True)
        yield from sizes.reconstruction(lap, "ordinary")
    if not options.fast:
        yield from _spectra(sizes, options)
    if options.verify:
        yield Work("llama.cpp", "llama.cpp", "llama.cpp", tells=False)


def _spectra(sizes: Sizes, options: AnalyzeOptions) -> Iterator[Work]:
    lap, k, n_tokens = "singular vectors", options.top, sizes.n_tokens
    each = sizes.map.block(k, "each")
    dense = options.tokens != "combined" and sizes.map.dense_is_cheaper(each, n_tokens)
    if dense:
        yield Work(lap, FULL, "back", sizes.d)
    else:
        if options.tokens != "combined":
            half = usual_sweeps(each) // 2
            yield Work(lap, "triplets of each token", "forward", n_tokens * each, half)
            yield Work(lap, "triplets of each token", "back", n_tokens * each, half)
        yield from sizes.combined(lap, k)
        yield from sizes.norms(lap, k)
    vectors = 2 * k * ((n_tokens if options.tokens != "combined" else 0) + (options.tokens != "each"))
    yield Work("decoding", "decoding", "decode", vectors, tells=False)


def _attribute(sizes: Sizes, options: AttributeOptions) -> Iterator[Work]:
    target = options.target
    n = QUESTIONS if not target else 1 if isinstance(target, str | int) else len(target)
    yield Work("forward pass", "coefficient pass", "pass")
    yield from sizes.questions("tokens", n)
    yield from sizes.reconstruction("tokens", fast=options.fast)
    if not options.fast:
        yield from _by_layer(sizes, options)
    if options.heads:
        yield Work("heads", "heads", "forward", share=OF_HEADS, tells=False)
        yield Work("heads", "heads by token", "back", max(1, options.heads // 2), tells=False)
        yield Work("heads", "decoding", "decode", 2 * options.heads, tells=False)


def _by_layer(sizes: Sizes, options: AttributeOptions) -> Iterator[Work]:
    """What `attribute` leaves out where it is fast."""
    # the block grows by a column for every write that is met
    yield Work("layers", "last writes", "back", max(1, sizes.writes // 2), tells=False)
    yield Work("layers", "positions", "back", tells=False)
    yield from sizes.combined("components", options.top)
    yield Work("components", "decoding", "decode", 2 * options.top, tells=False)


def _answer(sizes: Sizes, options: AnswerOptions) -> Iterator[Work]:
    """Of prompt and answer together, which is what is planned."""
    said, n_tokens = min(spoken(options), sizes.n_tokens), sizes.n_tokens
    if options.say is None:
        step = (1 if sizes.resumes else n_tokens) / n_tokens
        yield Work("answering", "answer", "run", 1 + round(said * step), said, tells=False)
    yield Work("forward pass", "coefficient pass", "pass")
    yield from sizes.reconstruction("accounts", fast=True)
    share = 1 - said / 2 / n_tokens  # a column ends where its token was said
    yield Work("accounts", "terms of the answer", "back", said, share=share)
    if options.rivals != "none" and options.against is None:
        places = said if options.rivals == "all" else max(1, round(CLOSE * said))
        yield Work("forward pass for rivals", f"coefficients, {CONTRAST}", "pass", rules=CONTRAST)
        yield Work("rivals", "terms above rivals", "back", places, rules=CONTRAST, share=share)
    if options.verify:
        yield Work("llama.cpp", "llama.cpp", "llama.cpp", tells=False)


def spoken(options: AnalysisOptions) -> int:
    """Tokens that an analysis adds to a prompt: those of an answer, at most."""
    if not isinstance(options, AnswerOptions):
        return 0
    return options.tokens if options.say is None else 1 + len(options.say) // LETTERS


def _layers(sizes: Sizes, options: LayersOptions) -> Iterator[Work]:
    n, k = sizes.n_layer, options.top
    layers = len(options.layers) if options.layers is not None else -(-n // options.every)
    places = layers * len(options.what)
    yield Work("forward pass", "coefficient pass", "pass")
    yield Work("direct contributions", "direct contributions", "back", 2, tells=False)
    columns = int(JOINT * k * (places + (LAYER not in options.what)))
    yield Work("cumulative maps", "triplets of all places", "forward", columns + BEGINNING, tells=False)
    yield Work("cumulative maps", "triplets of all places", "back", columns, tells=False)
    if options.layerwise:
        block = sizes.map.block(k)
        half, share = usual_sweeps(block) // 2 * places, 1 / n
        yield Work("layerwise maps", "triplets of layers", "forward", block, half, share=share, tells=False)
        yield Work("layerwise maps", "triplets of layers", "back", block, half, share=share, tells=False)
    yield Work("decoding", "decoding", "decode", places * k * (2 if options.layerwise else 1) + n, tells=False)


def _ablate(sizes: Sizes, options: AblateOptions) -> Iterator[Work]:
    yield from _account(sizes, LIKELIHOOD)
    yield Work("forward pass", "coefficient pass", "pass")
    n = len(options.tokens) or min(sizes.n_tokens, TAKEN)
    lap, k = "linear map", options.components
    yield from sizes.questions(lap, 1)
    yield from sizes.reconstruction(lap)
    yield from sizes.combined(lap, k)
    yield Work(lap, "tokens alone", "forward", n)
    yield Work("derivative", "coefficients, ordinary", "pass", rules="ordinary", beside=True)
    yield Work("derivative", "derivative", "back", rules="ordinary", beside=True)
    share = 0.5 if sizes.resumes else 1.0  # from where a variant differs
    lap = "model with parts of its input taken away"
    yield Work(lap, "runs without a token's vector", "run", n, share=share)
    yield Work(lap, "runs without a component", "run", k + 1)
    lap = "model on shorter prompts"
    yield Work(lap, "runs without a token", "run", n, share=share)
    yield Work("decoding", "decoding", "decode", 2 * k, tells=False)


def _ordinary(sizes: Sizes, options: OrdinaryOptions) -> Iterator[Work]:
    yield Work("forward pass", "coefficient pass", "pass")
    yield Work("forward pass", "coefficients, ordinary", "pass", rules="ordinary", beside=True)
    for lap, rules in (("detached Jacobian", None), ("ordinary Jacobian", "ordinary")):
        yield Work(lap, "terms", "forward", sizes.n_tokens, rules=rules)
        yield from sizes.combined(lap, options.top, rules, rules is not None)
        yield from sizes.norms(lap, options.top, rules)
        yield Work(lap, "attribution", "back", rules=rules)
        yield Work(lap, "decoding", "decode", 2 * options.top, tells=False)


def _extremes(sizes: Sizes, options: ExtremesOptions) -> Iterator[Work]:
    d, n, k, lap = sizes.d, sizes.n_tokens, options.top, "columns and rows"
    yield Work("forward pass", "coefficient pass", "pass")
    yield from sizes.reconstruction("reconstruction")
    # as ggufjac.maps.lengths decides
    usual = d <= WORTH * (LENGTHS * (n + 1) + 2 * CANDIDATES * k * n)
    exact = options.method == "exact" or (options.method == "auto" and usual)
    many = k if exact else CANDIDATES * k
    if exact:  # the full map passes by and is not kept
        yield Work(lap, "all lengths", "back", d)
    else:
        yield Work(lap, "probes", "back", LENGTHS)
        yield Work(lap, "probes", "forward", n * LENGTHS)
    yield Work(lap, "columns", "forward", n * many)
    yield Work(lap, "rows", "back", min(d, n * many))
    yield Work("decoding", "decoding", "decode", 4 * n * k, tells=False)


def _side(sizes: Sizes, options: CompareOptions) -> Iterator[Work]:
    """One side of a comparison; its number is not known here."""
    yield Work("predictions", "coefficient pass", "pass")
    lap = SIDE
    yield Work(lap, "coefficient pass", "pass")
    yield Work(lap, "attribution", "back", QUESTIONS)
    yield from sizes.combined(lap, options.top)
    yield from sizes.norms(lap, options.top)
    yield from sizes.reconstruction(lap)
    yield Work(lap, "decoding", "decode", 4 * options.top, tells=False)


#: The step in which a side of a comparison is worked.
SIDE = "side"


def _steer(sizes: Sizes, options: SteerOptions) -> Iterator[Work]:
    """A text as long as the concept's prompt; the text's own tokens take what the concept's do."""
    n, new, texts = sizes.n_tokens, options.tokens, len(options.strengths)
    step = (1 if sizes.resumes else n) / n  # of the positions, for every new token
    yield Work("the concept's map", "coefficient pass", "pass")
    yield Work("unsteered text", "runs", "run", 1 + round(new * step), new, tells=False)
    yield from sizes.combined("the concept's tokens", 4)
    if options.layer is None:
        lap = "trying layers"
        yield Work(lap, "maps on texts", "forward", n + new // 2, tells=False)
        yield Work(lap, "runs", "run", TRIED, tells=False)
    lap = "steered texts"
    yield Work(lap, "maps on texts", "forward", n + new * texts, tells=False)
    yield Work(lap, "runs", "run", texts + round(texts * new * step), new, tells=False)
    if options.export is not None:
        layers = sizes.n_layer if options.export_layers is None else len(options.export_layers)
        columns = int(JOINT * layers) + BEGINNING
        yield Work("control vector", "triplets of all layers", "forward", columns, tells=False)
        yield Work("control vector", "triplets of all layers", "back", columns, tells=False)
        yield Work("control vector", "runs", "run", 1 + round(new * step), new, tells=False)
    yield Work("likelihoods", "runs", "run", 1 + texts, tells=False)


_OF: dict[str, Callable[[Sizes, Any], Iterator[Work]]] = {
    "analyze": _analyze,
    "attribute": _attribute,
    "answer": _answer,
    "layers": _layers,
    "ablate": _ablate,
    "ordinary": _ordinary,
    "extremes": _extremes,
    "compare": _side,
    "steer": _steer,
}
#: The analyses whose cost can be told.
PLANNED = tuple(_OF)


def works(command: str, sizes: Sizes, options: AnalysisOptions) -> tuple[Work, ...]:
    """What an analysis with these options does with a prompt of this size, in its order."""
    return tuple(_OF[command](sizes, options))


def full_map() -> tuple[Work, ...]:
    """What `LinearMap.jacobian` does, and making the map."""
    return (Work("forward pass", "coefficient pass", "pass"), Work(FULL, FULL, "back", -1))


def of_side(work: Work, number: int, sides: int) -> Work:
    """The same as the part of one side among several."""
    return replace(work, lap=f"side {number + 1} of {sides}") if work.lap == SIDE else work
