"""The page of every kind of result: well-formed, complete, closed to the network, and safe whatever tokens say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from conftest import printed
from ggufjac.analyses.ablate import Ablation
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.layers import Layers
from ggufjac.analyses.table import KINDS
from ggufjac.cli.main import run
from ggufjac.readable import readable
from ggufjac.reports import words
from ggufjac.reports.page import EVERYTHING, page
from ggufjac.reports.page.convert import from_rich
from ggufjac.reports.page.markup import Markup, escape, tag
from ggufjac.reports.page.tables import value_of
from ggufjac.reports.terminal.layout import COLUMNS
from results import NASTY, nasty

#: Elements without an end.
VOID = {"meta", "br"}
ELEMENTS = {
    "html", "head", "title", "style", "body", "script", "button", "main", "header", "h1", "h2", "dl", "dt", "dd",
    "section", "nav", "ol", "li", "a", "details", "summary", "p", "div", "span", "bdi", "table", "thead", "tbody",
    "tfoot", "tr", "th", "td", "footer", "figure", "figcaption", "svg", "circle", "rect", "line",
}  # fmt: skip


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what it finds."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append((self.open[-1], data))

    @property
    def said(self) -> str:
        return "".join(data for _, data in self.text)


def read(document: str) -> Reader:
    reader = Reader()
    reader.feed(document)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(params=sorted(KINDS))
def result(request: pytest.FixtureRequest, results: dict[str, Result]) -> Result:
    if request.param not in results:
        pytest.fail(f"tests/results.py makes no result of the kind {request.param!r}")
    return results[request.param]


def test_every_kind_makes_a_page_that_is_closed_to_the_network(result: Result) -> None:
    document = page(result)
    found = read(document)
    assert document.startswith("<!doctype html>")
    assert {name for name, _ in found.found} <= ELEMENTS | VOID
    attributes = {key for _, attrs in found.found for key in attrs}
    assert not attributes & {"src", "srcset", "action", "data"}
    assert all((attrs["href"] or "").startswith("#") for _, attrs in found.found if "href" in attrs)
    assert not any(key.startswith("on") for key in attributes)
    assert "url(" not in document
    assert "@import" not in document
    policy = next(attrs["content"] for name, attrs in found.found if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    (script,) = re.findall(r"<script>(.*?)</script>", document, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


def test_token_text_stays_text(result: Result) -> None:
    changed = nasty(result)
    plain, hostile = read(page(result)), read(page(changed))
    names = [name for name, _ in hostile.found]
    assert [attrs.get("type") for name, attrs in hostile.found if name == "script"][-1:] == [None]
    assert names.count("script") == [name for name, _ in plain.found].count("script")
    assert names.count("style") == 1
    assert set(names) <= ELEMENTS | VOID
    known, used = ({key for _, attrs in reader.found for key in attrs} for reader in (plain, hostile))
    assert used <= known | {"data-v", "style"}
    page(changed).encode("utf-8")
    said = hostile.said
    assert not any(ord(c) < 32 and c not in "\t\n" for c in said)
    assert "\u202e" not in said
    if hasattr(result, "prompt"):
        assert readable("".join(NASTY)) in said
        assert "\\x00\\x1b" in said
    cell = changed._repr_html_()
    assert "<script" not in cell
    assert read(cell).open == []


def test_the_page_says_what_the_report_says(result: Result) -> None:
    report = printed(result, EVERYTHING, no_color=True)
    said = read(page(result)).said
    spoken = {word for word in re.findall(r"[^\s│╭╮╰╯─]+", report) if any(c.isalpha() for c in word)}
    assert {word for word in spoken if word not in said} == set()


def test_the_concept_grid_holds_the_results_numbers(results: dict[str, Result]) -> None:
    layers = results["layers"]
    assert isinstance(layers, Layers)
    found = read(page(layers))
    cells = [attrs for name, attrs in found.found if name == "td" and "concept" in (attrs.get("class") or "")]
    sigmas = [c.sigma for way in (False, True) for part in layers.parts for r in layers.of_part(part)
              for c in (r.layerwise if way else r.cumulative).concepts]  # type: ignore[union-attr]  # fmt: skip
    assert [float(attrs["data-v"] or 0) for attrs in cells] == sigmas
    last = layers.readings[-1].cumulative.concepts[0]
    assert f"{last.sigma:.5g}" in found.said
    assert f"{last.cosine:.4f}" in found.said
    for piece in last.writes:
        assert piece.shown in found.said

    analysis = results["analysis"]
    assert isinstance(analysis, Analysis)
    found = read(page(analysis))
    cells = [attrs for name, attrs in found.found if name == "td" and "concept" in (attrs.get("class") or "")]
    assert [float(attrs["data-v"] or 0) for attrs in cells] == [
        t.sigma for row in analysis.tokens for t in row.triplets
    ]


def test_the_prompt_is_shaded_by_exact_terms(results: dict[str, Result]) -> None:
    attribution = results["attribution"]
    assert isinstance(attribution, Attribution)
    found = read(page(attribution))
    shaded = [attrs for name, attrs in found.found if "carded" in (attrs.get("class") or "").split()]
    terms = [row.terms[0] for row in attribution.tokens]
    assert len(shaded) == len(terms)
    for attrs, term in zip(shaded, terms, strict=True):
        assert f"heat {'neg' if term < 0 else 'pos'}" in (attrs["class"] or "")
        assert f"{term:+.4f}" in found.said
    weights = [float((attrs["style"] or "").removeprefix("--v:")) for attrs in shaded]
    largest = max(abs(term) for term in terms[1:])
    assert weights == pytest.approx([0.62 * min(1, abs(term) / largest) for term in terms], abs=1e-4)


def numbers(document: str) -> list[list[float]]:
    """The values that the first matrix of a page is sorted by, row by row."""
    matrix, *_ = re.findall(r'<table class="matrix">(.*?)</table>', document, re.DOTALL)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", matrix, re.DOTALL)[1:]
    return [[float(v) for v in re.findall(r'<td[^>]* data-v="([^"]*)"', row)] for row in rows]


def test_a_matrix_adds_up(results: dict[str, Result]) -> None:
    """The layers by tokens of an attribution: rows end in their sums, the last is what is credited."""
    attribution = results["attribution"]
    assert isinstance(attribution, Attribution)
    n = len(attribution.tokens) + 1  # and constants
    _, *body, total = numbers(page(attribution))  # without "direct", which has no number
    for row in body:
        assert row[-2] == pytest.approx(sum(row[1 : 1 + n]), abs=1e-9)
        assert row[-2] == pytest.approx(sum(row[1 + n : -2]), abs=1e-9)
    credited = attribution.questions[0].value - attribution.missed[0]
    assert total[n + 2] == pytest.approx(credited, abs=0.01)


def test_of_many_tokens_those_that_matter_most_have_columns(results: dict[str, Result]) -> None:
    attribution = results["attribution"]
    assert isinstance(attribution, Attribution)
    times = 2 * COLUMNS // len(attribution.tokens)
    many = dataclasses.replace(
        attribution,
        tokens=attribution.tokens * times,
        writes=tuple(dataclasses.replace(write, tokens=write.tokens * times) for write in attribution.writes),
        heads=(),
    )
    document = page(many)
    assert ">others<" in document
    assert {len(row) for row in numbers(document)[1:-1]} == {1 + COLUMNS + 1 + 2 + 2}


def test_an_ablation_of_some_tokens_does_not_pass_for_the_prompt(results: dict[str, Result]) -> None:
    ablation = results["ablation"]
    assert isinstance(ablation, Ablation)
    assert "<h2>Prompt</h2>" in page(ablation)
    some = dataclasses.replace(ablation, tokens=ablation.tokens[:2])
    assert "<h2>Tokens taken away</h2>" in page(some)


def test_a_section_that_the_report_does_not_have_is_a_mistake(
    results: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ggufjac.reports.page.kinds import layers

    monkeypatch.setattr(layers, "bodies", lambda _: {"Nothing like it": Markup("x")}, raising=False)
    with pytest.raises(ValueError, match="Nothing like it"):
        page(results["layers"])


def test_markup() -> None:
    assert escape("<a&\"'>") == "&lt;a&amp;&quot;&#x27;&gt;"
    assert escape("\x00\x7f\udc80\x85") == "\\x00\\x7f\\x80\\x85"
    assert escape(Markup("<b>")) == "<b>"
    assert tag("p", "<", tag("b", ">"), class_="a", hidden=True, title=None, data_v='"') == (
        '<p class="a" hidden data-v="&quot;">&lt;<b>&gt;</b></p>'
    )


def test_tables_of_a_report_become_tables() -> None:
    table = Table()
    table.add_column("name")
    table.add_column("n", justify="right")
    table.add_column("")
    table.add_row(Text("<a>", style="bold cyan"), "≈1,234.5", words.bar(-2.5, 8))
    table.add_section()
    table.add_row("sum", "−2e-3", "")
    made = from_rich(table)
    assert '<td data-label="name"><span class="tok">&lt;a&gt;</span></td><td class="num" data-v="1234.5"' in made
    assert '<span class="bar neg" style="--v:0.3125"></span>' in made
    assert re.search(r'<tfoot><tr><td[^>]*>.*sum.*data-v="-0.002"', made)
    assert made.count("<button") == 2
    with pytest.raises(TypeError):
        from_rich(object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"), [("+1.5", 1.5), ("≈12", 12.0), ("50.0%", 50.0), ("−3", -3.0), ("·", None), ("3.4e-07", 3.4e-7)]
)
def test_what_a_cell_is_sorted_by(text: str, value: float | None) -> None:
    assert value_of(text) == value


def test_the_pages_files_are_part_of_the_package() -> None:
    folder = resources.files("ggufjac.reports.page")
    for name in ("page.css", "page.js", "page.html"):
        assert folder.joinpath(name).read_text(encoding="utf-8")


def test_the_command_writes_the_page(results: dict[str, Result], tmp_path: Path) -> None:
    saved, out = tmp_path / "a.safetensors", tmp_path / "a.html"
    results["analysis"].save(saved)
    assert run(["show", str(saved), "--html", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == page(results["analysis"])
