"""The titled parts of a page."""

from __future__ import annotations

from ggufjac.reports.page.markup import Markup, tag


def section(title: str, subtitle: str, content: Markup) -> Markup:
    """A heading, what it shows in words, and the thing itself."""
    return tag("section", tag("h2", title), tag("p", subtitle, class_="about"), content)
