"""A result as one page of HTML that needs nothing else: no network, no fonts, no scripts but its own.

The page is the report, part by part (ggufjac.reports.page.convert), with what a terminal cannot do: for every kind of
result a module under `kinds` may put a text before the tables (`lead`), other bodies under titles that hold no table
(`bodies`), cards on cells (`card`), and a style and a script of its own (`STYLE`, `SCRIPT`), which is told of the
result by `data`. Tables are the terminal's, as wide as they get: none can be missing.
A content security policy lets nothing load and no script run but the one that is named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
from functools import cache, partial
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ggufjac.readable import readable
from ggufjac.reports import terminal
from ggufjac.reports.page.convert import from_rich
from ggufjac.reports.page.markup import Markup, escape, join, tag
from ggufjac.reports.page.sections import CONVERSATION, PROMPT, Section, contents, place_of
from ggufjac.reports.page.tables import no_cards
from ggufjac.reports.terminal.layout import EVERYTHING, Fitted, Frame, Notes, Titled

if TYPE_CHECKING:
    from ggufjac.analyses.common.result import Result

KINDS = "ggufjac.reports.page.kinds"
#: Letters from which on a prompt is cut at the top of a page that shows all of it below.
LONG = 240


def page(result: Result) -> str:
    """The whole document."""
    kind = _of_kind(result.view_name())
    script = asset("page.js") + (asset(kind["SCRIPT"]) if "SCRIPT" in kind else "")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    prompt = getattr(result, "prompt", None)
    title = f"ggufjac {result.kind}" + (f": {readable(prompt)}" if isinstance(prompt, str) else "")
    return Template(asset("page.html")).substitute(
        title=escape(title),
        digest=digest,
        style=_style(kind),
        body=body(result, listed=True),
        data=_block(kind["data"](result)) if "data" in kind else "",
        version=escape(result.version),
        script=script,
    )


def cell(result: Result) -> str:
    """The page's content alone, for a notebook's cell: it takes its colours from the notebook and needs no script."""
    return str(
        tag("div", tag("style", Markup(_style(_of_kind(result.view_name())))), body(result), class_="ggufjac cell")
    )


def body(result: Result, *, listed: bool = False) -> Markup:
    """The report as HTML; listed: with a list of its parts, whose names are the page's own."""
    kind = _of_kind(result.view_name())
    lead: Section | None = kind["lead"](result) if "lead" in kind else None
    bodies = dict(kind["bodies"](result)) if "bodies" in kind else {}
    cards = partial(kind["card"], result) if "card" in kind else no_cards
    heads, sections, feet = [], [] if lead is None else [lead], []
    report = terminal.report(result)
    for part in report.draw(EVERYTHING) if isinstance(report, Fitted) else [report]:
        if isinstance(part, Frame):
            heads.append(_header(part, lead))
        elif isinstance(part, Titled):
            own = bodies.pop(part.title) if part.title in bodies else from_rich(part.body, cards)
            sections.append(Section(part.title, part.subtitle, own))
        elif isinstance(part, Notes):
            feet.append(tag("footer", *(tag("p", line) for line in part.lines)))
        else:
            feet.append(from_rich(part, cards))
    if bodies:
        raise ValueError(f"the report of {result.kind!r} has no section called {', '.join(map(repr, bodies))}")
    drawn = [section.drawn(place_of(i) if listed else None) for i, section in enumerate(sections, 1)]
    return join([*heads, contents(sections) if listed else None, *drawn, *feet])


@cache
def asset(name: str) -> str:
    """One of the page's own files."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _of_kind(kind: str) -> dict[str, Any]:
    """The names of the module with what a page adds for this kind, where there is one."""
    name = f"{KINDS}.{kind}"
    return {} if importlib.util.find_spec(name) is None else vars(importlib.import_module(name))


def _style(kind: dict[str, Any]) -> str:
    return asset("page.css") + (asset(kind["STYLE"]) if "STYLE" in kind else "")


def _block(known: object) -> Markup:
    """What a script is told, as JSON in an element that runs nothing. No character of it can end the element."""
    told = json.dumps(known, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return tag("script", Markup(told), type="application/json", id="told")


def _header(frame: Frame, lead: Section | None) -> Markup:
    facts = []
    for name, fact in frame.facts:
        shown = from_rich(fact)
        if (
            name == "prompt"
            and isinstance(fact, Text)
            and len(fact) > LONG
            and lead is not None
            and lead.title in (PROMPT, CONVERSATION)
        ):
            shown = join((from_rich(_ends(fact)), tag("span", "  all of it below", class_="dim")))
        facts.append(join((tag("dt", name), tag("dd", shown))))
    return tag("header", tag("h1", frame.title), tag("dl", *facts))


def _ends(text: Text) -> Text:
    """The beginning and the end of a long text, cut between words where there are any."""
    first, last = text.plain[: LONG // 2], text.plain[-LONG // 3 :]
    first, last = first.rpartition(" ")[0] or first, last.partition(" ")[2] or last
    return Text(f"{first} … {last}", style=text.style)
