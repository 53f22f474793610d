"""What fitting and reading lenses lets one choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ggufjac import parse
from ggufjac.analyses.options import AnalysisOptions, Tokens
from ggufjac.errors import UserError
from ggufjac.option import option
from ggufjac.rules import PRESETS

#: The rules of a lens where none are named: the Jacobian lens's own.
RULES = "ordinary"
#: What lenses that need no file are called, and those that are read with where none is named.
FREE = LOGIT, OWN, CORPUS = "logit", "own", "corpus"
USUAL = (LOGIT, OWN)
#: Those of a prompt's own map: its derivative reads what the prompt thinks of on its way much less often
#: (benchmarks/RESULTS.md, "lens.intermediates").
OWN_RULES = "rlens"
#: As published: texts of 128 tokens whose first 16 positions, where sinks are, count for nothing.
LENGTH, SKIP = 128, 16


@dataclass(frozen=True, kw_only=True)
class LensFitOptions(AnalysisOptions):
    """prompts: how many texts; length: tokens of each; skip: the first positions, which count for nothing; layers: the
    blocks (None: all but the last, which has no matrix); until: a standard error at which the fit ends early."""

    quick: ClassVar[bool] = True
    follows: ClassVar[bool] = False

    prompts: int = option(100, "texts (default 100; published lenses have 1,000)", parse=parse.positive, metavar="N")
    length: int = option(LENGTH, f"tokens of a text (default {LENGTH})", parse=parse.positive, metavar="N")
    skip: int = option(
        SKIP,
        f"first positions that count for nothing (default {SKIP}: sinks lie there)",
        parse=parse.whole,
        metavar="N",
    )
    layers: tuple[int, ...] | None = option(
        None, "these blocks, counted from 0 (default: all but the last)", parse=parse.ranges, metavar="N,N"
    )
    until: float | None = option(
        None,
        "end early once the standard error of every block is below this, e.g. 0.05",
        parse=parse.share,
        metavar="X",
    )

    rules: str | None = option(
        None,
        f"whose Jacobians: {RULES} (default, as published lenses), or {', '.join(PRESETS)}, or NAME=CHOICE,...",
        metavar="RULES",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.skip + 2:
            raise UserError(
                f"texts of {self.length} tokens have no position to learn from behind the first {self.skip}; let them "
                f"have {self.skip + 2} or more"
            )

    def usual_rules(self) -> str | None:
        return RULES


@dataclass(frozen=True, kw_only=True)
class LensReadOptions(AnalysisOptions):
    """layers: the blocks whose streams are read (None: all); positions: the last so many (None: all); target: tokens
    whose rank is followed through the grid; top: tokens of a cell; words: whether tokens without a letter or digit are
    left out; prompts, length, skip: of the texts of a lens that is not fitted."""

    follows: ClassVar[bool] = False

    layers: tuple[int, ...] | None = option(
        None, "these blocks, counted from 0 (default: all)", parse=parse.ranges, metavar="N,N"
    )
    positions: int | None = option(None, "the last N positions (default: all)", parse=parse.positive, metavar="N")
    target: Tokens | None = option(
        None, "follow this token's rank, its text or #ID; may be repeated", metavar="TOKEN", repeated=True, token=True
    )
    top: int = option(5, "tokens of a cell (default 5)", parse=parse.positive, metavar="K")
    words: bool = option(False, "leave out tokens without a letter or digit")
    prompts: int = option(
        8, "texts of a lens that is not fitted (--lens corpus; default 8)", parse=parse.positive, metavar="N"
    )
    length: int = option(LENGTH, f"tokens of such a text (default {LENGTH})", parse=parse.positive, metavar="N")
    skip: int = option(
        SKIP, f"first positions that count for nothing there (default {SKIP})", parse=parse.whole, metavar="N"
    )

    rules: str | None = option(
        None,
        f"how the model is linearised for lenses that are not fitted, of {', '.join(PRESETS)}, or NAME=CHOICE,... "
        f"(default: {OWN_RULES} for this prompt's own map, {RULES} for a mean over texts)",
        metavar="RULES",
    )

    def usual_rules(self) -> str | None:
        return None if self.path is None else "detached"

    @property
    def of_own_map(self) -> LensReadOptions:
        """The same with the rules of this prompt's own map."""
        return self if self.rules is not None else replace(self, rules=OWN_RULES)

    @property
    def of_mean(self) -> LensReadOptions:
        """The same with the rules of a mean over texts."""
        return self if self.rules is not None else replace(self, rules=RULES)


@dataclass(frozen=True, kw_only=True)
class LensVectorsOptions(AnalysisOptions):
    """tokens: whose directions are made; layers: the blocks (None: all that llama.cpp can steer and the lens has);
    scale: of the vectors, each of length 1 ("unit") or as long as the token's gradient ("raw"); centred:
    whether the mean direction of all tokens is taken off; export: a file for
    them; top: tokens of a row."""

    follows: ClassVar[bool] = False

    tokens: Tokens | None = option(
        None,
        "the direction of this token, its text or #ID; may be repeated: their mean",
        name="token",
        metavar="TOKEN",
        repeated=True,
        token=True,
    )
    layers: tuple[int, ...] | None = option(
        None,
        "these blocks, counted from 0 (default: all that the lens has and llama.cpp can steer)",
        parse=parse.ranges,
        metavar="N,N",
    )
    scale: Literal["unit", "raw"] = option(
        "unit", "vectors of length 1 (default), or as long as the gradients", choices=("unit", "raw")
    )
    centred: bool = option(False, "above the mean of all tokens' directions, which they largely share")
    export: str | None = option(None, "write them as a control vector for llama.cpp (GGUF)", metavar="FILE")
    top: int = option(5, "tokens of a row (default 5)", parse=parse.positive, metavar="K")


@dataclass(frozen=True, kw_only=True)
class LensSwapOptions(AnalysisOptions):
    """layers: the blocks behind which coordinates are exchanged (None: all of the lens); how: each time anew
    ("exchange"), or for those that the plain model has there, exchanged ("clamp"); start: the first position where they
    are, negative ones counted from the prompt's end; tokens: new ones; temperature: 0 for the likeliest token."""

    follows: ClassVar[bool] = False

    layers: tuple[int, ...] | None = option(
        None,
        "exchange behind these blocks, counted from 0 (default: all of the lens)",
        parse=parse.ranges,
        metavar="N,N",
    )
    how: Literal["clamp", "exchange"] = option(
        "clamp",
        "put in place what the model by itself has there, exchanged (default); or exchange what comes, which the next "
        "block's exchange undoes",
        choices=("clamp", "exchange"),
    )
    start: int = option(
        0,
        "from this position on (default 0: everywhere); -1 is the prompt's last",
        name="from-position",
        parse=parse.whole,
        metavar="N",
    )
    tokens: int = option(24, "new tokens (default 24)", parse=parse.positive, metavar="N")
    temperature: float = option(0.0, "draw tokens (default 0: the likeliest one)", parse=parse.temperature, metavar="X")
    top_p: float = option(1.0, "draw from the likeliest that have this probability", parse=parse.share, metavar="X")


@dataclass(frozen=True, kw_only=True)
class LensCompareOptions(AnalysisOptions):
    """layers: the blocks that are compared (None: all that both have); texts: with a model, the ones whose states both
    read (none: one that comes along)."""

    follows: ClassVar[bool] = False

    layers: tuple[int, ...] | None = option(
        None, "these blocks, counted from 0 (default: all that both have)", parse=parse.ranges, metavar="N,N"
    )
    texts: tuple[str, ...] = option(
        (),
        "with MODEL: both read the states of this text; may be repeated (default: a short one that comes along)",
        name="text",
        metavar="TEXT",
        repeated=True,
    )
