"""What each analysis lets one choose. A command's flags, a batch's keys and a Python function's arguments are these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

from ggufjac import parse
from ggufjac.errors import UserError
from ggufjac.maps.options import MapOptions
from ggufjac.option import flag_of, option, options_of
from ggufjac.rules import PRESETS, rules_called

if TYPE_CHECKING:
    from ggufjac.chat.prompt import PromptLike
    from ggufjac.network.texts import Sampling

#: A token: its text, "#ID", or its id.
Token: TypeAlias = "str | int"
Tokens: TypeAlias = "Token | Sequence[Token]"

#: What leaves a layer, among its parts.
LAYER = "layer"

#: What a target's logit is taken above: nothing, the likeliest other token, the mean of the four likeliest others, or
#: the mean of all; "chance": its ln p above that of a guess.
Above: TypeAlias = Literal["zero", "rival", "likeliest", "mean", "chance"]
#: The rules of the accounts that are shown first: their terms foretell best how a quantity changes without a token
#: (measured: docs/faithfulness.md). One for how likely a token is, one for what sets it apart from others.
LIKELIHOOD, CONTRAST = "lrp-qk", "half"
#: What can be planned: every analysis of prompts, `analyze` with the tables of each token or of all together alone, the
#: full map, a lens's fit, or a reading by a prompt's own map.
Planned: TypeAlias = Literal[
    "analyze",
    "each",
    "combined",
    "full",
    "layers",
    "attribute",
    "answer",
    "ablate",
    "ordinary",
    "extremes",
    "compare",
    "steer",
    "lens-fit",
    "lens-read",
]
#: What sets a prediction apart from its rivals, which is shown first; and the quantity whose terms rank tokens best.
ABOVE: Above = "likeliest"
RANKING: Above = "chance"
#: Heads that are told of where no number is given.
HEADS = 10
#: The rules whose estimates are held against patched runs: the derivative, which is attribution patching, and those
#: that follow real runs best (measured: docs/patch.md).
PATCHED_BY = ("ordinary", "half", "rlens")
#: What is told of every token of an answer: ln p above chance, so that the answer's is their sum.
ANSWERED: Above = "chance"


def faithful_rules(above: str, run: str = "exact") -> str:
    """The rules for a quantity (as in `Above`, or "token"); where a run has no derivatives, the nearest that
    reconstruct."""
    rules = CONTRAST if above in ("rival", "likeliest", "token") else LIKELIHOOD
    return rules if run == "exact" else str(rules_called(rules).exact)


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions(MapOptions):
    """How a map is made, and seed: of whatever is drawn at random. progress: whether a Python function tells on
    standard error how far it has come, as commands do."""

    seed: int = option(0, "of whatever is drawn at random", parse=parse.seed, metavar="N")
    progress: bool = option(False, "tell on standard error how far it has come", hidden=True, resource=True)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(AnalysisOptions):
    """How the tokens of a text are chosen. temperature: 0 for the likeliest one; top_p, top_k: among which others are
    drawn, with `seed`."""

    temperature: float = option(0.0, "draw tokens (default 0: the likeliest one)", parse=parse.temperature, metavar="X")
    top_p: float = option(1.0, "draw from the likeliest that have this probability", parse=parse.share, metavar="X")
    top_k: int = option(0, "draw from so many likeliest ones (default: all)", parse=parse.whole, metavar="K")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature: {self.temperature} is none; give 0 (the likeliest token) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p: {self.top_p} is no probability; give a number above 0 and at most 1")
        if self.top_k < 0:
            raise UserError(f"top_k: {self.top_k} is no number of tokens; give at least 0 (all)")

    @property
    def sampling(self) -> Sampling:
        """The choice of tokens that is meant."""
        from ggufjac.network.texts import Sampling

        return Sampling(self.temperature, self.top_p, self.seed, self.top_k)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(SamplingOptions):
    """tokens: of the text, at most."""

    follows: ClassVar[bool] = False

    tokens: int = option(64, "at most (default 64)", parse=parse.positive, metavar="N")


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(AnalysisOptions):
    """top: how many triplets; tokens: of which maps; target: the token whose logit is attributed (None: the
    prediction); ordinary: the ordinary Jacobian's reconstruction error as well; verify: whether llama.cpp is asked for
    its own prediction; fast: whether spectra are left out.
    """

    quick: ClassVar[bool] = True

    top: int = option(8, "singular triplets (default 8)", parse=parse.positive, metavar="K")
    tokens: Literal["each", "combined", "both"] = option(
        "both",
        "the map of each input token, of all together, or both (default)",
        choices=("each", "combined", "both"),
    )
    target: Token | None = option(
        None,
        "attribute this token's logit, or a text's of several: its text, or #ID",
        metavar="TOKEN",
        token=True,
        phrase=True,
    )
    ordinary: bool = option(False, "the ordinary Jacobian's reconstruction error as well")
    verify: bool = option(True, "do not ask llama.cpp for its prediction", name="no-verify", negated=True)
    fast: bool = option(False, "the tables of words and tokens alone: no singular vectors")


@dataclass(frozen=True, kw_only=True)
class LayersOptions(AnalysisOptions):
    """top: triplets per map. layers: which ones, counted from 0 (None: all); every: every so many, the last one among
    them. what: the parts, of "layer" and the names of the blocks ("attn", "mlp", "ssm", ...). layerwise: the layers'
    own maps as well. target: the token that is followed (None: the prediction). tolerance: of residuals.
    """

    layers: tuple[int, ...] | None = option(
        None, "these layers, counted from 0 (default: all)", parse=parse.ranges, metavar="N,N"
    )
    every: int = option(1, "every so many, with the last one", parse=parse.positive, metavar="N")
    what: tuple[str, ...] = option(
        (LAYER,),
        "what to read of each layer: layer (what leaves it; default), and what its parts write: attn, mlp, ssm",
        parse=parse.names,
        metavar="PART,PART",
    )
    layerwise: bool = option(False, "the map of each layer alone as well")
    top: int = option(6, "singular triplets (default 6)", parse=parse.positive, metavar="K")
    target: Token | None = option(
        None, "follow this token, or a text of several: its text, or #ID", metavar="TOKEN", token=True, phrase=True
    )
    tolerance: float = option(1e-2, "of residuals", hidden=True)


@dataclass(frozen=True, kw_only=True)
class AttributeOptions(AnalysisOptions):
    """target: the tokens to explain, the most interesting first (None: the likeliest ones); above: what their logits
    are taken above (None: `ABOVE`); against: the token that they are taken above instead; top: how many components;
    constants: where biases and other constants are shown, apart or with the tokens at whose positions they enter.
    heads: how many heads of attention to tell of (0: none). fast: whether layers and components are left out.
    rules: those whose terms foretell best what the model does without a token (`faithful_rules`), where none are named;
    with heads the nearest that hold attention's probabilities and reconstruct.
    """

    target: Tokens | None = option(
        None,
        "a token to explain, or a text of several, its text or #ID; may be repeated (default: the likeliest ones)",
        metavar="TOKEN",
        repeated=True,
        token=True,
        phrase=True,
    )
    against: Token | None = option(
        None, "explain how far the target is above this one", metavar="TOKEN", token=True, phrase=True
    )
    above: Above | None = option(
        None,
        "explain how far it is above the mean of the four likeliest others (default), the mean of all, the likeliest "
        "other token (rival), its ln p above chance, or the logit itself (zero)",
        choices=get_args(Above),
    )
    top: int = option(8, "components (default 8)", parse=parse.positive, metavar="K")
    constants: Literal["apart", "tokens"] = option(
        "apart",
        "biases and other constants: in a row of their own (default), or with the token at whose position each enters",
        choices=("apart", "tokens"),
    )
    heads: int = option(
        0,
        f"the heads of attention that give most, so many (alone: {HEADS}): where they look, what they write; exact "
        "terms alone",
        parse=parse.heads,
        bare=HEADS,
        metavar="K",
    )
    fast: bool = option(False, "the table of words and tokens alone: no layers, no components")
    rules: str | None = option(
        None,
        f"how the model is linearised, of {', '.join(PRESETS)}, or NAME=CHOICE,... (default: {CONTRAST} for what is "
        f"taken above other tokens, {LIKELIHOOD} otherwise; exact terms: detached, gate, half)",
        metavar="RULES",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 0:
            raise UserError(f"heads: {self.heads} is no number of heads; give at least 0 (none)")
        if self.heads and not self.linearisation.reconstructs:
            raise UserError(
                f"heads: their terms are those of rules that hold attention's probabilities and reconstruct, which "
                f"{self.rules!r} do not; use rules {self.linearisation.exact}, or name none"
            )

    def usual_rules(self) -> str:
        if self.path is not None:
            return "detached"
        usual = faithful_rules(self.above or ABOVE if self.against is None else "token", self.run)
        return str(rules_called(usual).exact) if self.heads else usual


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(SamplingOptions):
    """tokens: of the answer, at most; say: an answer that is given, instead. above, against: what every token is taken
    above (None: `ANSWERED`). rivals: whether what tipped the balance is told where another token was close, everywhere
    or nowhere. by: into what the text is cut where its parts are summed up. verify: whether llama.cpp is asked what it
    would have said.
    """

    tokens: int = option(64, "of the answer, at most (default 64)", parse=parse.positive, metavar="N")
    say: str | None = option(None, "explain this answer instead of one that the model gives now", metavar="TEXT")
    against: Token | None = option(
        None, "explain how far every token is above this one instead of above chance", metavar="TOKEN", token=True
    )
    above: Above | None = option(
        None,
        "explain every token's ln p above chance (default), or its logit above the four likeliest others, the mean of "
        "all, the likeliest other token (rival) or nothing (zero)",
        choices=get_args(Above),
    )
    rivals: Literal["close", "all", "none"] = option(
        "close",
        "tell what set each token apart from its runner-up where that was close (default), everywhere, or nowhere",
        choices=("close", "all", "none"),
    )
    by: Literal["token", "word", "sentence", "message", "role"] = option(
        "word",
        "sum up what is given by words (default), tokens, sentences, messages or roles",
        choices=("token", "word", "sentence", "message", "role"),
    )
    verify: bool = option(True, "do not ask llama.cpp what it would have said", name="no-verify", negated=True)
    rules: str | None = option(
        None,
        f"how the model is linearised, of {', '.join(PRESETS)}, or NAME=CHOICE,... (default: {LIKELIHOOD} for how "
        f"likely a token was, {CONTRAST} for what sets it apart from others; exact terms: detached, gate, half)",
        metavar="RULES",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise UserError(f"tokens: {self.tokens} are no answer; ask for at least 1")

    def usual_rules(self) -> str:
        if self.path is not None:
            return "detached"
        return faithful_rules(self.above or ANSWERED if self.against is None else "token", self.run)


@dataclass(frozen=True, kw_only=True)
class OrdinaryOptions(AnalysisOptions):
    """top: how many triplets of each; target: the token whose logit is attributed (None: the prediction)."""

    follows: ClassVar[bool] = False

    target: Token | None = option(None, "attribute this token's logit: its text, or #ID", metavar="TOKEN", token=True)
    top: int = option(8, "singular triplets (default 8)", parse=parse.positive, metavar="K")


@dataclass(frozen=True, kw_only=True)
class ExtremesOptions(AnalysisOptions):
    """top: how many of each token; method: all lengths computed, or estimated first ("auto": by what it costs)."""

    top: int = option(8, "of each token (default 8)", parse=parse.positive, metavar="K")
    method: Literal["auto", "exact", "probes"] = option(
        "auto",
        "compute all lengths, or estimate them first and compute the longest (default: by what it costs)",
        choices=("auto", "exact", "probes"),
    )


@dataclass(frozen=True, kw_only=True)
class AblateOptions(AnalysisOptions):
    """target: the token whose ln p is followed (None: the prediction); tokens: the positions to take away (none: those
    to which the most faithful account gives most, of a chat those of its messages first; all in a short prompt);
    components: how many leading ones.
    """

    target: Token | None = option(
        None, "follow this token, or a text of several: its text, or #ID", metavar="TOKEN", token=True, phrase=True
    )
    tokens: tuple[int, ...] = option(
        (),
        "positions to take away, from 0 (default: those to which the most faithful account gives most, at most 32)",
        parse=parse.positions,
        metavar="N,M,...",
    )
    components: int = option(
        4, "leading triplets to take away (default 4)", parse=parse.positive, metavar="K", short="top"
    )


@dataclass(frozen=True, kw_only=True)
class PatchOptions(AnalysisOptions):
    """target, against: the tokens whose logits are followed, one above the other (None: the clean prompt's prediction
    above the corrupt one's). parts: of "stream" and the names of the blocks ("attn", "mlp", "ssm", ...; none: all).
    layers: which ones, counted from 0 (None: all); every: every so many, the last one among them. positions: where
    (none: from the first token on that differs). heads: single heads of attention as well, at these positions together.
    estimates: the rules of the backward sweeps; rules: one for all.
    """

    follows: ClassVar[bool] = False

    target: Token | None = option(
        None,
        "follow this token: its text, or #ID (default: the clean prompt's prediction)",
        metavar="TOKEN",
        token=True,
    )
    against: Token | None = option(
        None,
        "follow how far the target's logit is above this one's (default: the corrupt prompt's prediction; where that "
        "is the target, its ln p is followed)",
        metavar="TOKEN",
        token=True,
    )
    parts: tuple[str, ...] = option(
        (),
        "what is put in: stream (what leaves a block), and what the blocks write: attn, mlp, ssm (default: all)",
        several=True,
        metavar="PART",
    )
    layers: tuple[int, ...] | None = option(
        None, "these layers, counted from 0 (default: all)", parse=parse.ranges, metavar="N,N"
    )
    every: int = option(1, "every so many, with the last one", parse=parse.positive, metavar="N")
    positions: tuple[int, ...] = option(
        (), "at these positions, from 0 (default: from the first token on that differs)", parse=parse.positions,
        metavar="N,M,...",
    )  # fmt: skip
    heads: bool = option(False, "what single heads of attention restore, layer by head, at these positions together")
    estimates: tuple[str, ...] = option(
        PATCHED_BY,
        f"how the model is linearised for the estimates, of {', '.join(PRESETS)}, or NAME=CHOICE,...; several are "
        f"compared (default: {' '.join(PATCHED_BY)})",
        name="rules",
        several=True,
        metavar="RULES",
    )
    rules: str | None = option(None, "of all estimates", hidden=True)
    path: Literal["up", "gate"] | None = option(None, "live factor of gated MLPs", hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rules is not None:
            object.__setattr__(self, "estimates", (self.rules,))
        for name in ("parts", "estimates"):
            given: str | Sequence[str] = getattr(self, name)
            object.__setattr__(self, name, tuple(dict.fromkeys([given] if isinstance(given, str) else given)))
        for rules in self.estimates:
            rules_called(rules)

    def usual_rules(self) -> None:
        return None

    def by(self, rules: str) -> PatchOptions:
        """The same with these rules for the map."""
        return replace(self, rules=rules)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(AnalysisOptions):
    """top: how many triplets of each side; target: a token to follow on all sides, as the first model has it."""

    top: int = option(8, "singular triplets (default 8)", parse=parse.positive, metavar="K")
    target: Token | None = option(
        None, "follow this token's logit everywhere as well: its text, or #ID", metavar="TOKEN", token=True
    )


@dataclass(frozen=True, kw_only=True)
class CompareTensorsOptions(CompareOptions):
    """by: what is ranked, and put back: single tensors, layers, or types of tensors. top: how many are put back;
    target: the token that is followed at the last position (None: the first model's likeliest). positions: which ones
    count (None: the last); tokens: of a text whose every position counts, at most. fail_above: the mean KL that is
    allowed (None: any)."""

    by: Literal["tensor", "layer", "type"] = option(
        "tensor",
        "of two quantisations of one model: attribute the change to tensors, and rank tensors, layers or types of them",
        choices=("tensor", "layer", "type"),
    )
    top: int = option(
        3,
        "singular triplets (default 8); with --by: how many of what hurts most are put back (default 3)",
        parse=parse.positive,
        metavar="K",
    )
    positions: Literal["last", "all"] | None = option(
        None,
        "with --by: follow the prediction at the last position of each prompt (default), or at every position (default "
        "for --prompt-file)",
        choices=("last", "all"),
    )
    tokens: int = option(
        256,
        "with --by: of each text whose every position counts, at most (default 256)",
        parse=parse.positive,
        metavar="N",
    )
    fail_above: float | None = option(
        None, "with --by: exit status 1 where the mean KL is above so many nats", parse=parse.nats, metavar="X"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run != "exact":
            raise UserError("tensors are told apart in exact arithmetic alone (--run exact)")
        if self.rules != self.usual_rules() or self.path is not None:
            raise UserError("rules say how a network is linearised; the terms of tensors are of real runs, without any")
        if self.target is not None and self.counted == "all":
            raise UserError("a target is followed at the last position alone (--positions last)")
        if self.fail_above is not None and not (math.isfinite(self.fail_above) and self.fail_above >= 0):
            raise UserError(f"fail_above: {self.fail_above} is no divergence in nats; give 0 or more")
        for name in ("top", "tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is too few; give at least 1")

    @property
    def counted(self) -> str:
        """Which positions count."""
        return self.positions or "last"


@dataclass(frozen=True, kw_only=True)
class SteerOptions(SamplingOptions):
    """layer: None to choose it; strengths: those of the steered texts; tokens: how many more there are; counted: the
    concept's tokens (none: found from its map); export: a file for the control vector of the layers export_layers
    (None: all that llama.cpp steers); directions: what the vector of a layer is. more: further prompts (text, token ids
    or `Prompt`), which go on beside the first; along: whether the maps are given the text's own vectors, as published,
    or the concept's, which is a fixed direction.
    """

    follows: ClassVar[bool] = False
    #: Whether strengths are sought where none are named.
    sought: ClassVar[bool] = False

    more: tuple[PromptLike, ...] = option((), "further prompts", hidden=True)
    along: Literal["text", "end"] = option(
        "text",
        "what the maps are given: the text's own vectors, or the concept's",
        choices=("text", "end"),
        hidden=True,
    )
    layer: int | None = option(
        None,
        "steer what leaves this layer, from 0; auto (default): where the concept gains the most at a fixed price",
        parse=parse.layer_or_auto,
        metavar="N",
    )
    strengths: tuple[float, ...] = option(
        (0.5, 1.0, 1.5),
        "how hard: 1 adds half of the stream's own length; several give a text each (default 0.5 1 1.5)",
        name="strength",
        parse=parse.strength,
        several=True,
        metavar="X",
    )
    tokens: int = option(24, "new tokens (default 24)", parse=parse.positive, metavar="N")
    counted: Tokens | None = option(
        None,
        "count this token (its text, or #ID) instead of those that the concept's map writes; may be repeated",
        name="count",
        metavar="TOKEN",
        repeated=True,
        token=True,
    )
    export: str | None = option(None, "write a control vector for llama.cpp (GGUF)", metavar="FILE")
    export_layers: tuple[int, ...] | None = option(
        None, "its layers (default: all that llama.cpp can steer)", parse=parse.layers, metavar="N,N"
    )
    directions: Literal["left", "written"] = option(
        "left",
        "of its layers: the leading left vectors (default), or what the concept's tokens write, the sum of J x",
        name="direction",
        choices=("left", "written"),
    )


@dataclass(frozen=True, kw_only=True)
class SteerPairsOptions(SteerOptions):
    """strengths: 1 adds as much as the two sets lie apart; direction: what it is made of (None: of which separates best
    at its layer); at: which states of a text; ablate: whether the direction is taken out of the stream instead, behind
    ablate_layers (None: all); neutral: ordinary texts on which the price is measured (none: those that come along);
    export_layers: those of the file (None: the steered one).
    """

    strengths: tuple[float, ...] = option(
        (1.0, 1.5, 2.0, 3.0),
        "how hard: 1 adds half of the stream's own length, or with pairs as much as the two sets lie apart; several "
        "give a text each (default 0.5 1 1.5; with pairs 1 1.5 2 3)",
        name="strength",
        parse=parse.strength,
        several=True,
        metavar="X",
    )
    direction: Literal["mean", "pca", "map"] | None = option(
        None,
        "of pairs: the difference of the means, the leading singular vector of the pairs' differences, or the "
        "difference of what the exact maps write (default: which separates best)",
        name="pairs-direction",
        choices=("mean", "pca", "map"),
    )
    at: Literal["mean", "last"] = option(
        "mean",
        "of pairs: a text's state is the mean over its positions but the first (default), or that of the last one",
        choices=("mean", "last"),
    )
    ablate: bool = option(False, "of pairs: take the direction out of the stream instead of adding it")
    ablate_layers: tuple[int, ...] | None = option(
        None, "behind these layers (default: all)", parse=parse.ranges, metavar="N,N"
    )
    neutral: tuple[str, ...] = option(
        (), "of pairs: measure the price on this text; may be repeated", metavar="TEXT", repeated=True
    )


@dataclass(frozen=True, kw_only=True)
class SteerWordsOptions(SteerOptions):
    """say: the words (None: a concept prompt's own); strengths: 1 adds half of the stream's usual length (none: those
    that cost half of the price, the price and twice as much); layer: None for seven tenths of the network; neutral:
    ordinary texts on which the price is measured (none: those that come along); export_layers: those of the file (None:
    the steered one). rules: of the maps that the words are pulled back through.
    """

    sought: ClassVar[bool] = True

    say: Tokens | None = option(
        None,
        "the word to say: its text, with its space in front, or #ID; may be repeated",
        metavar="WORD",
        repeated=True,
    )
    strengths: tuple[float, ...] = option(
        (),
        "how hard (default: what costs half of the price, the price and twice as much)",
        name="strength",
        parse=parse.strength,
        several=True,
        metavar="X",
    )
    neutral: tuple[str, ...] = option(
        (), "measure the price on this text; may be repeated", metavar="TEXT", repeated=True
    )

    def usual_rules(self) -> str:
        return "detached" if self.path is not None else "rlens"


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(AnalysisOptions):
    """How exact arithmetic is computed, and how llama.cpp is run."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions(AnalysisOptions):
    """What can be chosen for all analyses of a batch at once. top: triplets (None: the analysis's own number); verify:
    whether llama.cpp is asked for its prediction in `analyze`; fast: whether `analyze` and `attribute` leave out what
    takes long.
    """

    quick: ClassVar[bool] = True

    top: int | None = option(None, "singular triplets (default: the analysis's own)", parse=parse.positive, metavar="K")
    rules: str | None = option(
        None,
        f"how the model is linearised (default: as the analysis does by itself): {', '.join(PRESETS)}, or "
        "NAME=CHOICE,...",
        metavar="RULES",
    )
    verify: bool = option(True, "analyze: do not ask llama.cpp for its prediction", name="no-verify", negated=True)
    fast: bool = option(False, "analyze, attribute: the tables of words and tokens alone")

    def usual_rules(self) -> None:
        return None

    def of_analysis(
        self, kind: type[AnalysisOptions], target: Token | None, answer: str | None = None
    ) -> AnalysisOptions:
        """The record of one analysis, as far as it knows these options; target, answer: the token and the answer that
        are meant, if there are any."""
        found = {item.name: item for item in options_of(kind)}
        given = {item.name: getattr(self, item.name) for item in options_of(MapOptions)} | {"seed": self.seed}
        if self.top is not None:
            name = next(name for name, item in found.items() if "top" in (name, flag_of(item).short))
            given[name] = self.top
        given |= {name: getattr(self, name) for name in ("verify", "fast") if name in found}
        if "say" in found and answer is not None:
            given["say"] = answer
        if "target" in found and target is not None:
            given["target"] = target
        return kind(**given)
