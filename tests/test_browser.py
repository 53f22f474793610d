"""Pages in a real browser: they load nothing, run nothing of a token's, fit narrow screens, sort, and show cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from browser import size, until
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.layers import Layers
from ggufjac.reports.page import page
from results import nasty

By: Any = pytest.importorskip("selenium.webdriver.common.by", reason="selenium is not installed").By
Keys: Any = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys


@pytest.fixture(scope="module")
def pages(results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of every kind's page, plain and with hostile tokens ("nasty-..."), each in a file."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind, result in results.items():
        for name, shown in ((kind, result), (f"nasty-{kind}", nasty(result))):
            path = folder / f"{name}.html"
            path.write_text(page(shown), encoding="utf-8")
            found[name] = path.as_uri()
    return found


def complaints(window: Any) -> list[str]:
    return [entry["message"] for entry in window.get_log("browser")]


def asked_for(window: Any) -> list[str]:
    """The addresses that were requested since last asked."""
    events = [json.loads(entry["message"])["message"] for entry in window.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def point_at(window: Any, element: Any) -> None:
    from selenium.webdriver import ActionChains

    window.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
    ActionChains(window).move_to_element(element).perform()


def point_away(window: Any) -> None:
    """To the corner, where no page has a card: the pointer stays where the test before has left it."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(window)
    actions.pointer_action.move_to_location(0, 0)
    actions.perform()


def column(table: Any, number: int) -> list[str]:
    return [row.find_elements(By.CSS_SELECTOR, "td, th")[number].text for row in table.find_elements(By.CSS_SELECTOR,
            "tbody > tr")]  # fmt: skip


def test_no_page_loads_complains_or_overflows(window: Any, pages: dict[str, str]) -> None:
    complaints(window)
    for name, address in pages.items():
        for width in (1280, 360):
            size(window, width)
            asked_for(window)
            window.get(address)
            assert asked_for(window) == [address]
            assert complaints(window) == [], name
            assert window.execute_script("return document.documentElement.scrollWidth") <= width, name
            assert window.execute_script("return window.broken") is None, name
            assert window.find_element(By.CSS_SELECTOR, "h1").text.startswith("ggufjac ")


def test_the_policy_stops_what_is_put_in(window: Any, pages: dict[str, str]) -> None:
    """Were a script ever to slip in, it would not run, and nothing could be fetched."""
    window.get(pages["analysis"])
    complaints(window)
    window.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
    )
    until(window, lambda: any("Content Security Policy" in line for line in complaints(window)))
    assert window.execute_script("return window.broken") is None


def inside(window: Any, card: Any, width: int) -> bool:
    box = window.execute_script("return arguments[0].getBoundingClientRect().toJSON()", card)
    return bool(box["left"] >= 0 and box["right"] <= width and box["top"] >= 0 and box["bottom"] <= 800)


@pytest.mark.parametrize("width", [1280, 360])
def test_cards_tell_more_and_stay_inside(
    window: Any, pages: dict[str, str], results: dict[str, Result], width: int
) -> None:
    layers = results["layers"]
    assert isinstance(layers, Layers)
    size(window, width)
    window.get(pages["layers"])
    point_away(window)
    cells = window.find_elements(By.CSS_SELECTOR, ".concept .carded")
    k = len(layers.readings[0].cumulative.concepts)
    for place in (0, k - 1, k * (len(layers.of_part("layer")) - 1)):
        reading, concept = layers.of_part("layer")[place // k], None
        concept = reading.cumulative.concepts[place % k]
        card = cells[place].find_element(By.CSS_SELECTOR, ".tip")
        until(window, lambda card=card: not card.is_displayed())
        point_at(window, cells[place])
        until(window, card.is_displayed)
        assert f"{concept.sigma:.5g}" in card.text
        assert f"{concept.cosine:.4f}" in card.text
        for piece in concept.writes:
            assert piece.shown in card.text
        until(window, lambda card=card: inside(window, card, width))  # the page follows where it scrolls to


def test_cards_by_keyboard(window: Any, pages: dict[str, str]) -> None:
    size(window, 1280)
    window.get(pages["attribution"])
    token = window.find_element(By.CSS_SELECTOR, ".prompt .carded")
    card = token.find_element(By.CSS_SELECTOR, ".tip")
    while window.switch_to.active_element != token:
        window.switch_to.active_element.send_keys(Keys.TAB)
    until(window, card.is_displayed)
    token.send_keys(Keys.ESCAPE)
    until(window, lambda: not card.is_displayed())


def test_tables_sort_by_click_and_by_key(window: Any, pages: dict[str, str], results: dict[str, Result]) -> None:
    analysis = results["analysis"]
    assert isinstance(analysis, Analysis)
    size(window, 1280)
    window.get(pages["analysis"])
    table = window.find_element(By.CSS_SELECTOR, "table.grid")
    headings = table.find_elements(By.CSS_SELECTOR, "thead th")
    number = next(i for i, heading in enumerate(headings) if heading.text.startswith("logit of"))
    before = column(table, 0)
    assert before == [str(t) for t in range(len(analysis.tokens))]
    button = headings[number].find_element(By.CSS_SELECTOR, "button")
    descending = sorted(range(len(analysis.tokens)), key=lambda t: -analysis.tokens[t].logit)

    def becomes(heading: Any, way: str) -> None:
        """The rows are sorted in the same turn of the page's script that says so."""
        until(window, lambda: heading.get_attribute("aria-sort") == way)

    button.click()
    becomes(headings[number], "descending")
    assert column(table, 0) == [str(t) for t in descending]
    button.send_keys(Keys.ENTER)
    becomes(headings[number], "ascending")
    assert column(table, 0) == [str(t) for t in reversed(descending)]
    foot = table.find_element(By.CSS_SELECTOR, "tfoot").text
    assert "sum" in foot
    button.send_keys(Keys.SPACE)
    becomes(headings[number], "none")
    assert column(table, 0) == before
    words = headings[1].find_element(By.CSS_SELECTOR, "button")
    words.click()
    becomes(headings[1], "ascending")
    shown = column(table, 1)
    in_order = "return arguments[0].every((word, i) => !i || arguments[0][i - 1].localeCompare(word) <= 0)"
    assert window.execute_script(in_order, shown)
    assert sorted(shown) == sorted(row.token.shown for row in analysis.tokens)


def test_light_and_dark(window: Any, pages: dict[str, str]) -> None:
    def luma() -> float:
        color = window.execute_script("return getComputedStyle(document.querySelector('.ggufjac')).backgroundColor")
        red, green, blue = (float(part) for part in color.split("(")[1].rstrip(")").split(",")[:3])
        return 0.299 * red + 0.587 * green + 0.114 * blue

    def light() -> None:
        until(window, lambda: luma() > 200)

    def dark() -> None:
        until(window, lambda: luma() < 60)

    size(window, 1280, scheme="light")
    window.get(pages["analysis"])
    window.execute_script("localStorage.clear()")
    window.refresh()
    light()
    size(window, 1280, scheme="dark")
    dark()
    toggle = window.find_element(By.ID, "theme")
    until(window, lambda: toggle.get_attribute("aria-label") == "switch to light")
    toggle.click()
    light()
    window.refresh()
    light()  # the choice stays
    window.find_element(By.ID, "theme").click()
    dark()
    size(window, 1280, scheme="light")
    assert luma() < 60  # whatever the system changes to
    window.execute_script("localStorage.clear()")


def test_a_notebooks_cell_takes_the_notebooks_colours(window: Any, results: dict[str, Result], tmp_path: Path) -> None:
    """The cell's text is that of the notebook's theme, and cards open without a script."""
    for paper, ink in (("rgb(255, 255, 255)", "rgb(20, 20, 20)"), ("rgb(17, 17, 17)", "rgb(230, 230, 230)")):
        cell = results["layers"]._repr_html_()
        theme = f"--jp-content-font-color1:{ink};--jp-layout-color1:{paper};background:{paper};color:{ink}"
        path = tmp_path / "cell.html"
        path.write_text(f'<!doctype html><meta charset="utf-8"><body style="{theme}">{cell}</body>', encoding="utf-8")
        size(window, 900)
        window.get(path.as_uri())
        point_away(window)
        heading = window.find_element(By.CSS_SELECTOR, "h2")
        assert window.execute_script("return getComputedStyle(arguments[0]).color", heading) == ink
        concept = window.find_element(By.CSS_SELECTOR, ".concept .carded")
        point_at(window, concept)
        card = concept.find_element(By.CSS_SELECTOR, ".tip")
        until(window, card.is_displayed)
        assert window.execute_script("return getComputedStyle(arguments[0]).backgroundColor", card) == paper
