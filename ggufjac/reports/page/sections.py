"""The titled parts of a page, and the list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufjac.reports.page.markup import Markup, tag

#: Parts from which on a page has a list of them.
LISTED = 3
#: The titles of sections that show the whole prompt.
PROMPT, CONVERSATION = "Prompt", "Conversation"


@dataclass(frozen=True)
class Section:
    """A heading, what it shows in words, and the thing itself."""

    title: str
    subtitle: str
    content: Markup

    def drawn(self, place: str | None = None) -> Markup:
        """The section; place: the name by which the list of contents finds it."""
        about = tag("p", self.subtitle, class_="about")
        return tag("section", tag("h2", self.title), about, self.content, id=place)


def place_of(number: int) -> str:
    return f"part-{number}"


def contents(sections: Sequence[Section]) -> Markup:
    """Links to the sections, in their order."""
    if len(sections) < LISTED:
        return Markup()
    links = (tag("li", tag("a", s.title, href=f"#{place_of(i)}")) for i, s in enumerate(sections, 1))
    return tag("nav", tag("ol", *links), aria_label="contents")
