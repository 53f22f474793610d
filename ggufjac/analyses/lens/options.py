"""What fitting and reading lenses lets one choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ggufjac import parse
from ggufjac.analyses.options import AnalysisOptions, Tokens
from ggufjac.errors import UserError
from ggufjac.option import option

#: The rules of a lens where none are named: the Jacobian lens's own.
RULES = "ordinary"
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

    def usual_rules(self) -> str | None:
        return RULES
