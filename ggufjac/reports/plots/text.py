"""Tokens as labels: every character in a font that has it, or escaped, so that no picture has an empty box."""

from __future__ import annotations

from functools import cache

from matplotlib import font_manager

from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.readable import escaped
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
#: Fonts that have a box for every character, and matplotlib's for formulas, whose characters are not Unicode's.
BOXES = ("Last Resort", "LastResort", "Adobe Blank", "NotDef", "STIXNonUnicode", "STIXSize")
FORMULAS = ("cmb10", "cmex10", "cmmi10", "cmr10", "cmss10", "cmsy10", "cmti10", "cmtt10")
#: The longest label of a token.
LONGEST = 16


def label(piece: Piece | Word, longest: int = LONGEST) -> str:
    """A token's text on one line, shortened."""
    return shortened(piece.shown, longest)


def shortened(text: str, longest: int) -> str:
    """Text of at most so many characters, drawable."""
    covered = drawable(text)
    return covered if len(covered) <= longest else covered[: longest - 1] + "…"


def drawable(text: str) -> str:
    """Text with what no font at hand can draw written as an escape."""
    known = _known()
    return "".join(c if ord(c) in known or _elsewhere(c) else escaped(c) for c in text)


def families() -> tuple[str, ...]:
    """matplotlib's own font, the wide ones that are installed, and those that some text has needed so far."""
    return (*_preferred(), *_needed)


@cache
def _preferred() -> tuple[str, ...]:
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return (OWN, *(name for name in WIDE if name in installed))


@cache
def _known() -> frozenset[int]:
    """The characters that some preferred font has."""
    paths = (font_manager.findfont(name) for name in _preferred())
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


#: Other fonts, by name, that have a character which no preferred one has; pictures are drawn again when one is added.
_needed: dict[str, None] = {}


@cache
def _elsewhere(character: str) -> bool:
    """Whether any other installed font has a character, an emoji say; that font is among `families` from then on."""
    if not character.isprintable():
        return False
    for name, characters in _others():
        if ord(character) in characters:
            _needed[name] = None
            return True
    return False


@cache
def _others() -> tuple[tuple[str, frozenset[int]], ...]:
    """The other installed fonts and their characters, read only where a character is missing.

    Fonts of empty boxes and fonts of pixels, which matplotlib cannot scale, have no character.
    """
    regular = {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and str(entry.weight) in ("400", "normal", "regular")
    }
    found = []
    for name, path in sorted(regular.items()):
        if name in (*_preferred(), *FORMULAS) or any(box in name for box in BOXES):
            continue
        try:
            font = font_manager.get_font(path)
            found.append((name, frozenset(font.get_charmap()) if font.scalable else frozenset()))
        except (OSError, RuntimeError):  # a file that FreeType cannot read
            continue
    return tuple(found)


def phrase(parts: Phrase) -> str:
    """Texts and tokens one after the other."""
    return "".join(label(part) if isinstance(part, Piece) else part for part in parts)
