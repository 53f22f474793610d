"""Pages on a telephone and on paper: nothing off the screen without a hint, texts on own lines, long tables opened."""

from __future__ import annotations

from typing import Any

import pytest

from browser import size, until
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.table import KINDS
from ggufjac.reports.page import page
from ggufjac.reports.page.tables import ROWS
from test_page_is_report import longer

By: Any = pytest.importorskip("selenium.webdriver.common.by", reason="selenium is not installed").By

#: What a row takes beside its text: padding, borders, the rest of a line.
SPARE = 32
#: Heights of rows and of the text that is on the screen, without cards.
ROOMS = """
return [...document.querySelectorAll('tbody tr')].filter((row) => row.offsetHeight).map((row) => {
  const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT), tops = [], bottoms = [];
  for (let node; (node = walker.nextNode());) {
    if (node.parentElement.closest('.tip')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.height && box.left < innerWidth) { tops.push(box.top); bottoms.push(box.bottom); }
  }
  return [row.offsetHeight, Math.max(...bottoms) - Math.min(...tops)];
})"""
#: Boxes that are wider than the screen, how their edges look, and whether their table holds texts.
BOXES = """
return [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => [
  getComputedStyle(box).backgroundImage, getComputedStyle(box).backgroundAttachment,
  box.querySelector('table').classList.contains('stack')])"""


@pytest.fixture(scope="module")
def pages(results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of every kind's page, and of an attribution of a long prompt."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, result in {**results, "long": longer(results, 8)}.items():
        path = folder / f"{name}.html"
        path.write_text(page(result), encoding="utf-8")
        found[name] = path.as_uri()
    return found


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("width", [400, 1280])
def test_what_is_off_the_screen_is_hinted_at(window: Any, pages: dict[str, str], kind: str, width: int) -> None:
    """Tables wider than their box have shadows at the edges; those with texts are never wider on a telephone."""
    size(window, width)
    window.get(pages[kind])
    for image, attachment, texts in window.execute_script(BOXES):
        assert image.count("linear-gradient") == 4
        assert attachment == "local, local, scroll, scroll"
        assert not (texts and width == 400)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_rows_are_as_high_as_their_text(window: Any, pages: dict[str, str], kind: str) -> None:
    size(window, 400)
    window.get(pages[kind])
    for row, text in window.execute_script(ROOMS):
        assert row <= text + SPARE


def test_a_text_has_a_line_of_its_own(window: Any, pages: dict[str, str]) -> None:
    """On a telephone; no name of a number is lost by that."""
    size(window, 400)
    window.get(pages["steering"])
    (texts, *_) = window.find_elements(By.CSS_SELECTOR, "table.stack")
    for row in texts.find_elements(By.CSS_SELECTOR, "tbody tr"):
        strength, text, *others = row.find_elements(By.CSS_SELECTOR, "td")
        assert text.get_attribute("data-label") == "text"
        assert text.rect["width"] > 300
        assert text.rect["y"] >= strength.rect["y"] + strength.rect["height"]
        assert all(other.rect["y"] >= text.rect["y"] + text.rect["height"] for other in others)
        assert all(other.rect["x"] + other.rect["width"] <= 400 for other in others)
        named = "return getComputedStyle(arguments[0], '::before').content"
        assert [window.execute_script(named, other) for other in others] == [
            f'"{name}"' for name in ("concept", "mass", "ln p", "own")
        ]


def visible(window: Any) -> int:
    count = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].filter((r) => r.offsetHeight).length"
    return int(window.execute_script(count))


def test_long_tables_open_by_click_and_on_paper(window: Any, pages: dict[str, str], results: dict[str, Result]) -> None:
    rows = len(longer(results, 8).tokens)
    size(window, 1280)
    window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})  # a page may have no script
    try:
        window.get(pages["long"])
        assert visible(window) == ROWS
        window.find_element(By.CSS_SELECTOR, "details.more summary").click()
        until(window, lambda: visible(window) == rows)
        window.find_element(By.CSS_SELECTOR, "details.more summary").click()
        until(window, lambda: visible(window) == ROWS)
    finally:
        window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        until(window, lambda: visible(window) == rows)
    finally:
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_closed_table_shows_the_first_of_its_order(window: Any, pages: dict[str, str]) -> None:
    size(window, 1280)
    window.get(pages["long"])
    shown = """return [...document.querySelectorAll('table')[0].tBodies[0].rows].filter((r) => r.offsetHeight)
               .map((r) => Number(r.cells[0].dataset.v))"""
    kept = window.execute_script(shown)
    heading = window.find_element(By.CSS_SELECTOR, "thead th")
    heading.find_element(By.CSS_SELECTOR, "button").click()
    until(window, lambda: heading.get_attribute("aria-sort") == "descending")
    largest = window.execute_script(shown)
    assert largest == sorted(largest, reverse=True)
    assert len(largest) == ROWS
    assert largest[0] == max(largest) == 47
    for way in ("ascending", "none"):
        heading.find_element(By.CSS_SELECTOR, "button").click()
        until(window, lambda way=way: heading.get_attribute("aria-sort") == way)
    assert window.execute_script(shown) == kept


def test_the_contents_lead_there(window: Any, pages: dict[str, str]) -> None:
    size(window, 1280, height=400)
    window.get(pages["layers"])
    link = window.find_elements(By.CSS_SELECTOR, "nav a")[-1]
    link.click()
    heading = window.find_elements(By.CSS_SELECTOR, "section h2")[-1]
    assert heading.text == link.text
    until(window, lambda: 0 <= window.execute_script("return arguments[0].getBoundingClientRect().top", heading) < 400)
