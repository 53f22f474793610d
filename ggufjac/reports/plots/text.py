"""Tokens as labels: every character in a font that has it, or escaped, so that no picture has an empty box."""

from __future__ import annotations

from functools import cache

from matplotlib import font_manager

from ggufjac.analyses.common.tokens import Piece
from ggufjac.reports.phrases import Phrase

#: matplotlib's own font, which comes first.
OWN = "DejaVu Sans"
#: Fonts that know many other scripts and symbols; those that are installed are asked in this order.
WIDE = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "Noto Sans SC",
    "Source Han Sans",
    "IPAexGothic",
    "IPAGothic",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Symbols 2",
    "Noto Emoji",
    "Unifont",
)
#: The longest label of a token.
LONGEST = 16


def label(piece: Piece, longest: int = LONGEST) -> str:
    """A token's text on one line, shortened."""
    return shortened(piece.shown, longest)


def shortened(text: str, longest: int) -> str:
    """Text of at most so many characters, drawable."""
    covered = drawable(text)
    return covered if len(covered) <= longest else covered[: longest - 1] + "…"


def drawable(text: str) -> str:
    """Text with what no font at hand can draw written as an escape."""
    known = _known()
    return "".join(c if ord(c) in known else c.encode("unicode_escape").decode("ascii") for c in text)


@cache
def families() -> tuple[str, ...]:
    """matplotlib's own font and the wide ones that are installed."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return (OWN, *(name for name in WIDE if name in installed))


@cache
def _known() -> frozenset[int]:
    """The characters that some font of `families` has."""
    paths = (font_manager.findfont(name) for name in families())
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def phrase(parts: Phrase) -> str:
    """Texts and tokens one after the other."""
    return "".join(label(part) if isinstance(part, Piece) else part for part in parts)
