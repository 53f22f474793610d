"""A result as one page of HTML that needs nothing else: no network, no fonts, no scripts but its own.

The page is the report, part by part (ggufjac.reports.page.convert), with what a terminal cannot do: for every kind of
result a module under `kinds` may put a text before the tables (`lead`) and other bodies under their titles (`bodies`).
A content security policy lets nothing load and no script run but the one that is named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
from functools import cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from ggufjac.analyses.common.tokens import readable
from ggufjac.reports import terminal
from ggufjac.reports.page.convert import from_rich
from ggufjac.reports.page.markup import Markup, escape, join, tag
from ggufjac.reports.page.sections import section
from ggufjac.reports.terminal.layout import Fitted, Frame, Notes, Titled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ggufjac.analyses.common.result import Result

#: A width, in a terminal's columns, at which a report shows everything that it has.
EVERYTHING = 1000
KINDS = "ggufjac.reports.page.kinds"


def page(result: Result) -> str:
    """The whole document."""
    script = asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    prompt = getattr(result, "prompt", None)
    title = f"ggufjac {result.kind}" + (f": {readable(prompt)}" if isinstance(prompt, str) else "")
    return Template(asset("page.html")).substitute(
        title=escape(title),
        digest=digest,
        style=asset("page.css"),
        body=body(result),
        version=escape(result.version),
        script=script,
    )


def cell(result: Result) -> str:
    """The page's content alone, for a notebook's cell: it takes its colours from the notebook and needs no script."""
    return str(tag("div", tag("style", Markup(asset("page.css"))), body(result), class_="ggufjac cell"))


def body(result: Result) -> Markup:
    """The report as HTML."""
    report = terminal.report(result)
    lead, bodies = _of_kind(result)
    parts = list(report.draw(EVERYTHING)) if isinstance(report, Fitted) else [report]
    out = []
    for part in parts:
        out.append(_part(part, bodies))
        if isinstance(part, Frame):
            out.append(lead)
    if bodies:
        raise ValueError(f"the report of {result.kind!r} has no section called {', '.join(map(repr, bodies))}")
    return join(out)


@cache
def asset(name: str) -> str:
    """One of the page's own files."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _of_kind(result: Result) -> tuple[Markup, dict[str, Markup]]:
    """What is put before the tables, and the bodies that take the place of the report's, by title."""
    name = f"{KINDS}.{result.kind}"
    if importlib.util.find_spec(name) is None:
        return Markup(), {}
    kind = importlib.import_module(name)
    return kind.lead(result), dict(kind.bodies(result))


def _part(part: RenderableType, bodies: dict[str, Markup]) -> Markup:
    if isinstance(part, Frame):
        facts = (join((tag("dt", name), tag("dd", from_rich(fact)))) for name, fact in part.facts)
        return tag("header", tag("h1", part.title), tag("dl", *facts))
    if isinstance(part, Titled):
        own = bodies.pop(part.title) if part.title in bodies else from_rich(part.body)
        return section(part.title, part.subtitle, own)
    if isinstance(part, Notes):
        return tag("footer", *(tag("p", line) for line in part.lines))
    return from_rich(part)
