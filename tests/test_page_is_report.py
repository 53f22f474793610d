"""The page is the report: every table with every column and cell, for every kind. Notes define only what is there."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.ordinary import Ordinary
from ggufjac.analyses.table import KINDS
from ggufjac.reports import terminal, words
from ggufjac.reports.cells import CUT, Bar
from ggufjac.reports.page import EVERYTHING, page
from ggufjac.reports.page.tables import ROWS
from ggufjac.reports.terminal.layout import CUT_BARS, Fitted, Frame, Notes, Titled, named

WIDTHS = (60, 80, 100, 120, 140, EVERYTHING)
#: What notes may define without its being a word of a table or of the head.
FREE = {"frozen", "price", "u", "■", "·", "≈", "counted", "concepts", "last write", "linear and zeroed", CUT}


class Tables(HTMLParser):
    """The tables of a page: under which title, their headings, and their rows without what their cards say."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, list[list[str]]]] = []
        self.notes: list[str] = []
        self.titles: list[str] = []
        self._title = ""
        self._into: list[str] | None = None
        self._stack: list[tuple[str, bool]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "br":
            self.handle_data(" ")
            return
        self._stack.append((tag, "tip" in classes))
        if tag == "h2":
            self._title, self._into = "", None
        elif tag == "table":
            self.found.append((self._title, []))
        elif tag == "tr":
            self.found[-1][1].append([])
        elif tag in ("td", "th"):
            self.found[-1][1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._stack.pop()
        if tag == "h2":
            self.titles.append(self._title)

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._stack]
        if any(tip for _, tip in self._stack):
            return
        if tags and tags[-1] == "h2":
            self._title += data
        elif {"td", "th"} & set(tags):
            self.found[-1][1][-1][-1] += data
        elif "footer" in tags:
            self.notes.append(data)


def shown(cell: RenderableType) -> str:
    """A cell as a page says it: on one line, a bar without its blocks."""
    if isinstance(cell, Bar):
        return CUT if cell.cut else ""
    plain = cell.plain if isinstance(cell, Text) else str(cell)
    return "" if not plain.strip() else plain


def squeezed(text: str) -> str:
    return " ".join(text.split())


def parts(result: Result, width: int) -> list[RenderableType]:
    report = terminal.report(result)
    assert isinstance(report, Fitted)
    return list(report.draw(width))


def tables(result: Result, width: int) -> list[tuple[str, Table]]:
    """The tables of the terminal's report, with their titles; what is set side by side without headings is none."""
    found = [(part.title if isinstance(part, Titled) else "", part.body if isinstance(part, Titled) else part)
             for part in parts(result, width)]  # fmt: skip
    return [(title, body) for title, body in found if isinstance(body, Table) and body.show_header]


def bars(table: Table) -> list[Bar]:
    """The bars of a table."""
    return [cell for column in table.columns for cell in column.cells if isinstance(cell, Bar)]


@pytest.fixture(params=sorted(KINDS))
def result(request: pytest.FixtureRequest, results: dict[str, Result]) -> Result:
    return results[request.param]


def test_every_table_column_and_cell_of_the_report_is_in_the_page(result: Result) -> None:
    made = Tables(page(result))
    report = tables(result, EVERYTHING)
    assert [title for title, _ in made.found] == [title for title, _ in report]
    for (title, (head, *rows)), (_, table) in zip(made.found, report, strict=True):
        assert [squeezed(cell) for cell in head] == [squeezed(named(column)) for column in table.columns], title
        cells = zip(*(column.cells for column in table.columns), strict=True)
        assert [[squeezed(cell) for cell in row] for row in rows] == [
            [squeezed(shown(cell)) for cell in row] for row in cells
        ], title
    assert made.notes == [line for part in parts(result, EVERYTHING) if isinstance(part, Notes) for line in part.lines]
    sections = [part.title for part in parts(result, EVERYTHING) if isinstance(part, Titled)]
    assert made.titles[-len(sections) :] == sections if sections else not made.titles


def test_the_widest_report_has_every_column_of_narrower_ones(result: Result) -> None:
    everything = {title: {named(column) for column in table.columns} for title, table in tables(result, EVERYTHING)}
    for width in WIDTHS:
        for title, table in tables(result, width):
            # tokens' columns are cut where there is little room, and what is short for want of room has another name
            cut = {name for name in map(named, table.columns) if "…" in name} | {"others", "rest", "σ₁"}
            assert {named(column) for column in table.columns} - cut <= everything[title], (title, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_notes_define_only_what_is_there(result: Result, width: int) -> None:
    """What a note explains ("at last: ...") is a heading, a row's name or a word of the head at that very width."""
    said = []
    for title, table in tables(result, width):
        said += [title, *map(named, table.columns)]
        said += [shown(cell) for column in table.columns[:2] for cell in column.cells]
    for part in parts(result, width):
        if isinstance(part, Frame):
            said += [name for name, _ in part.facts]
    known = set(re.findall(r"[\w‖σ₁-]+", " ".join(said)))
    for part in parts(result, width):
        for line in part.lines if isinstance(part, Notes) else ():
            for terms in re.findall(r"(?:^|[;.] )([^:;.]+):", line):
                for term in [] if terms in FREE else terms.split(", "):
                    assert set(term.split()) <= known or term in FREE, (term, line)


def test_attribution_shows_where_terms_come_in_and_what_has_arrived(results: dict[str, Result]) -> None:
    (head, *_) = next(rows for title, rows in Tables(page(results["attribution"])).found if title == "Layers")
    assert [squeezed(name) for name in head][-4:] == ["attn", "mlp", "sum", "at last"]


def outgrown(results: dict[str, Result]) -> Analysis:
    """An analysis whose first token gives ten times what the others do at most."""
    a = results["analysis"]
    assert isinstance(a, Analysis)
    most = max(abs(row.logit) for row in a.tokens[1:])
    return dataclasses.replace(a, tokens=(dataclasses.replace(a.tokens[0], logit=10 * most), *a.tokens[1:]))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_cut_bar_is_marked_and_explained(results: dict[str, Result], width: int) -> None:
    cut = outgrown(results)
    (table, *_) = [table for title, table in tables(cut, width) if title == "Input tokens"]
    first, *others = bars(table)
    assert first.plain.endswith(CUT)
    assert not any(bar.cut or CUT in bar.plain for bar in others)
    assert max(bar.share for bar in others) == 1
    assert any(isinstance(part, Notes) and CUT_BARS in part.lines for part in parts(cut, width))
    most = max(abs(row.logit) for row in cut.tokens[1:])
    whole = dataclasses.replace(cut, tokens=(dataclasses.replace(cut.tokens[0], logit=most), *cut.tokens[1:]))
    assert not any(isinstance(part, Notes) and CUT_BARS in part.lines for part in parts(whole, width))


def test_the_page_marks_cut_bars(results: dict[str, Result]) -> None:
    document = page(outgrown(results))
    assert document.count('class="bar pos cut"') == 1
    assert CUT_BARS in Tables(document).notes


def test_the_page_marks_cut_colours(results: dict[str, Result]) -> None:
    r = results["ordinary"]
    assert isinstance(r, Ordinary)
    most = max(map(abs, r.detached.terms[1:]))
    terms = (10 * most, *r.detached.terms[1:])
    document = page(dataclasses.replace(r, detached=dataclasses.replace(r.detached, terms=terms)))
    assert len(re.findall(r'class="carded heat pos cut"', document)) == 1
    (key,) = re.findall(r'<section id="part-1">.*?<p class="key">(.*?)</p>', document, re.DOTALL)
    assert f"{most:+.2f}" in key
    assert f"{CUT}: beyond the scale, up to {10 * most:+.2f}" in key


@pytest.mark.parametrize("kind", ["analysis", "attribution"])
def test_words_are_shaded_by_what_they_give_and_sinks_are_pale(results: dict[str, Result], kind: str) -> None:
    document = page(sunken(results)[kind])
    (lead,) = re.findall(r'<section id="part-1">.*?<p class="prompt">(.*?)</p>', document, re.DOTALL)
    assert lead.count("carded heat") == 1 + lead.count('"carded heat pos"') + lead.count('"carded heat neg"')
    assert "cut" not in lead
    assert "shared by all" in document


def sunken(results: dict[str, Result]) -> dict[str, Result]:
    """An analysis and an attribution whose first token is a sink."""
    analysis, attribution = results["analysis"], results["attribution"]
    assert isinstance(analysis, Analysis)
    assert isinstance(attribution, Attribution)
    return {
        "analysis": dataclasses.replace(
            analysis, accounts=tuple(dataclasses.replace(a, sinks=(0,)) for a in analysis.accounts)
        ),
        "attribution": dataclasses.replace(attribution, sinks=(0,)),
    }


@pytest.mark.parametrize("kind", ["analysis", "attribution"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_table_adds_up_to_the_value_and_no_bar_is_cut(
    results: dict[str, Result], kind: str, width: int
) -> None:
    result = sunken(results)[kind]
    (title, table), *_ = tables(result, width)
    assert title == "Which words mattered"
    names, numbers = (list(map(shown, table.columns[i].cells)) for i in (1, 2))
    assert any(name.startswith("shared by all (") for name in names)
    assert names[-1] == "sum"
    *terms, total = [float(number) for number in numbers if number]
    assert sum(terms) == pytest.approx(total, abs=0.005 * len(terms))
    assert isinstance(result, Analysis | Attribution)
    value = result.accounts[0].question.value if isinstance(result, Analysis) else result.questions[0].value
    assert total == pytest.approx(value, abs=0.006)
    assert max(bar.share for bar in bars(table)) == 1


def test_a_bar() -> None:
    assert words.bar(3, 4, 4).plain == "███ "
    assert words.bar(4, 4, 4).plain == "████"
    assert words.bar(4.1, 4, 4).plain == "███»"
    assert words.bar(-9, 4, 4).style == "red"


def longer(results: dict[str, Result], times: int) -> Attribution:
    """An attribution whose prompt is several times as long."""
    a = results["attribution"]
    assert isinstance(a, Attribution)
    writes = tuple(dataclasses.replace(w, tokens=w.tokens * times) for w in a.writes)
    heads = tuple(
        dataclasses.replace(h, tokens=h.tokens * times, begins=h.begins * times, weights=h.weights * times)
        for h in a.heads
    )
    tokens = a.tokens * times
    singly = tuple(Word(row.token.text, t, t + 1) for t, row in enumerate(tokens))
    return dataclasses.replace(a, prompt=a.prompt * times, tokens=tokens, words=singly, writes=writes, heads=heads)


@pytest.mark.parametrize("width", [60, 80, 100, 120, EVERYTHING])
def test_equal_tokens_have_columns_that_differ(results: dict[str, Result], width: int) -> None:
    from rich.cells import cell_len

    for title, table in tables(longer(results, 3), width):
        if title == "Layers":
            heads = [column.header.plain.split("\n") for column in table.columns if isinstance(column.header, Text)]
            assert heads
            assert all(a < b for a, b in pairwise(int(position) for position, _ in heads))
            for position, text in heads:
                whole = longer(results, 3).tokens[int(position)].token.shown
                assert text == whole or (text.endswith("…") and cell_len(text) <= 18)


def test_long_tables_open(results: dict[str, Result]) -> None:
    """More than so many rows are kept back behind a summary, those of the smallest terms; none is left out."""
    short, long = results["attribution"], longer(results, 8)
    assert "<details" not in page(short)
    document = page(long)
    first = document.split("<h2>Which words mattered</h2>")[1].split("</table>")[0]
    assert f"{ROWS} of {len(long.tokens)} rows" in first
    back = re.findall(r'<tr class="rest"><td class="num dim" data-v="(\d+)', first)
    assert len(back) == len(long.tokens) - ROWS
    terms = [abs(row.terms[0]) for row in long.tokens]
    front = set(range(len(terms))) - {int(float(i)) for i in back}
    assert min(terms[i] for i in front) >= max(terms[int(float(i))] for i in back)


def test_a_long_prompt_is_written_once(results: dict[str, Result]) -> None:
    """At the top only its ends, cut between words; where no part of the page shows it, all of it."""
    prompt = "one two three four five " * 100
    long = dataclasses.replace(longer(results, 20), prompt=prompt)
    (shown,) = re.findall(r"<dt>prompt</dt><dd>(.*?)</dd>", page(long), re.DOTALL)
    plain = re.sub(r"<[^>]*>", "", shown)
    assert plain.endswith("  all of it below")
    first, last = plain.removesuffix("  all of it below").split(" … ")
    assert prompt.startswith(first + " ")
    assert prompt.rstrip().endswith(" " + last.rstrip("␣"))
    assert len(plain) < 300
    steering = results["steering"]
    assert "prompt" in {field.name for field in dataclasses.fields(steering)}
    assert prompt.rstrip() in page(dataclasses.replace(steering, prompt=prompt))  # type: ignore[call-arg]


def test_the_contents_lead_to_every_part(result: Result) -> None:
    document = page(result)
    places = re.findall(r'<section id="([^"]*)">', document)
    links = re.findall(r'<li><a href="#([^"]*)">', document)
    assert links == (places if len(places) >= 3 else [])
    assert len(set(places)) == len(places)
    assert "href" not in result._repr_html_()  # several cells stand in one notebook
