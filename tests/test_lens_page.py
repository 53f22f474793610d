"""The page of `lens read`: lenses that are switched, a state that stays chosen, layers and positions that are kept."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import size, until
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.lens.read import LensCell, LensGrids, LensRow
from ggufjac.reports.page import page
from results import nasty

By: Any = pytest.importorskip("selenium.webdriver.common.by", reason="selenium is not installed").By
ActionChains: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed").ActionChains
Keys: Any = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys

LAYERS = 24


@pytest.fixture(scope="module")
def grids(results: dict[str, Result]) -> LensGrids:
    """Three lenses that follow two tokens through many layers; every layer's states are told from the next one's."""
    found = results["lens"]
    assert isinstance(found, LensGrids)

    def cell(of: LensCell, layer: int) -> LensCell:
        return dataclasses.replace(of, ranks=(of.ranks[0] + layer, 1 + (7 * layer) % 100))

    def rows(own: tuple[LensRow, ...]) -> Iterator[LensRow]:
        for layer in range(LAYERS):
            row = own[layer % len(own)]
            yield LensRow(layer, tuple(cell(of, layer) for of in (row.cells * 2)[layer % 5 :][: len(row.cells)]))

    grown = tuple(dataclasses.replace(grid, rows=tuple(rows(grid.rows))) for grid in found.grids)
    return dataclasses.replace(found, n_layer=LAYERS, targets=(*found.targets, found.tokens[2]), grids=grown)


def written(folder: Path, grids: LensGrids) -> str:
    path = folder / "lens.html"
    path.write_text(page(grids), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(grids: LensGrids, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("pages"), grids)


@pytest.fixture
def shown(window: Any, address: str) -> Any:
    size(window, 1280)
    window.get("about:blank")
    window.get(address)
    return window


def lens(window: Any) -> int:
    """The only lens that is seen, as its tab says."""
    seen = """return [...document.querySelectorAll('.lens')].map((p, i) => p.offsetHeight ? i : -1)
      .filter((i) => i >= 0 && document.querySelectorAll('[role=tab]')[i].ariaSelected === 'true')"""
    (found,) = window.execute_script(seen)
    return int(found)


def place(window: Any, row: int, column: int, number: int = 0) -> Any:
    """What has the focus in a place of a table of the lens that is seen; -1 are the heads."""
    find = """return [...document.querySelectorAll('.lens:not([hidden]) table')][arguments[0]]
      .rows[arguments[1] + 1].cells[arguments[2] + 1].querySelector('.carded, button')"""
    return window.execute_script(find, number, row, column)


def kept(window: Any, number: int = 0) -> tuple[list[int], list[str]]:
    """The layers and positions that are seen."""
    find = """const [table] = [...document.querySelectorAll('.lens:not([hidden]) table')].slice(arguments[0]);
      const seen = (cells) => [...cells].slice(1).filter((cell) => cell.offsetHeight);
      const heads = seen(table.rows[0].cells);
      for (const row of seen(table.rows)) if (seen(row.cells).length !== heads.length) return null;
      return [seen(table.rows).map((row) => Number(row.cells[0].textContent)),
        heads.map((cell) => cell.querySelector('.dim').textContent)]"""
    layers, positions = window.execute_script(find, number)
    return layers, positions


def chosen(window: Any) -> set[tuple[int, int]]:
    """The places that are chosen, in all tables of all lenses."""
    find = """return [...document.querySelectorAll('.lens [aria-selected=true]')]
      .map((cell) => [cell.parentElement.rowIndex - 1, cell.cellIndex - 1])"""
    return {(row, column) for row, column in window.execute_script(find)}


def press(window: Any, *keys: str) -> None:
    chain = ActionChains(window)
    *held, key = keys
    for each in held:
        chain.key_down(each)
    chain.send_keys(key)
    for each in held:
        chain.key_up(each)
    chain.perform()


def drag(window: Any, one: Any, other: Any) -> None:
    ActionChains(window).move_to_element(one).click_and_hold().move_to_element(other).release().perform()


def said(cell: LensCell) -> list[str]:
    return [piece.shown for piece in cell.top]


# --- what the page holds ------------------------------------------------------------------------------------------


def test_it_is_told_names_alone(grids: LensGrids) -> None:
    (told,) = re.findall(r'<script type="application/json" id="told">(.*?)</script>', page(grids), re.DOTALL)
    assert json.loads(told) == {"lenses": ["logit", "own", "corpus"], "targets": [t.shown for t in grids.targets]}


def test_without_a_script_every_grid_is_there(window: Any, address: str, grids: LensGrids) -> None:
    window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.get("about:blank")
        window.get(address)
        tables = window.find_elements(By.CSS_SELECTOR, "table")
        assert len(tables) == len(grids.grids) * 3
        assert all(table.is_displayed() for table in tables)
    finally:
        window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


# --- in a browser -------------------------------------------------------------------------------------------------


def test_lenses_are_switched_by_tab_and_by_key_and_the_state_stays_chosen(shown: Any, grids: LensGrids) -> None:
    assert lens(shown) == 0
    assert kept(shown)[0] == list(range(LAYERS))  # nothing is folded away
    place(shown, 9, 3).click()
    until(shown, lambda: chosen(shown) == {(9, 3)})
    tabs = shown.find_elements(By.CSS_SELECTOR, "[role=tab]")
    assert [tab.text for tab in tabs] == ["logit1", "own2", "corpus3"]
    press(shown, "2")
    until(shown, lambda: lens(shown) == 1)
    assert chosen(shown) == {(9, 3)}
    assert shown.switch_to.active_element == place(shown, 9, 3)
    card = place(shown, 9, 3).find_element(By.CSS_SELECTOR, ".tip")
    until(shown, card.is_displayed)
    of = grids.grids[1].rows[9].cells[3]
    assert len(of.top) > 1
    for token in said(of):
        assert token in card.text
    for rank in of.ranks:
        assert f"{rank:,}" in card.text
    tabs[2].click()
    until(shown, lambda: lens(shown) == 2)
    press(shown, Keys.ARROW_RIGHT)
    until(shown, lambda: lens(shown) == 0)
    assert shown.switch_to.active_element == tabs[0]
    press(shown, Keys.END)
    until(shown, lambda: lens(shown) == 2)
    assert chosen(shown) == {(9, 3)}
    headings = [heading.text for heading in shown.find_elements(By.CSS_SELECTOR, "h2") if heading.is_displayed()]
    assert headings == ["Lens: corpus", *(f"Ranks of {target.shown}" for target in grids.targets)]
    assert [link.text for link in shown.find_elements(By.CSS_SELECTOR, "nav a") if link.text] == headings


def test_the_chosen_state_is_told_through_all_lenses(shown: Any, grids: LensGrids) -> None:
    box = shown.find_element(By.CSS_SELECTOR, ".state")
    assert not box.is_displayed()
    place(shown, 4, 2).click()
    until(shown, box.is_displayed)
    columns = box.find_elements(By.CSS_SELECTOR, ".side > div")
    for column, grid in zip(columns, grids.grids, strict=True):
        of = grid.rows[4].cells[2]
        values = [value.text for value in column.find_elements(By.CSS_SELECTOR, ".row > :last-child")]
        assert values == [*said(of), *(f"{rank:,}" for rank in of.ranks)]
    # the lines stand the higher the better the rank is
    pictures = box.find_elements(By.CSS_SELECTOR, "svg")
    assert len(pictures) == len(grids.targets)
    for i, picture in enumerate(pictures):
        (points,) = [line.get_attribute("points") for line in picture.find_elements(By.CSS_SELECTOR, "polyline.now")]
        heights = [float(point.split(",")[1]) for point in points.split()]
        ranks = [row.cells[2].ranks[i] for row in grids.grids[0].rows]
        assert len(heights) == LAYERS
        assert all((heights[a] < heights[b]) == (ranks[a] < ranks[b]) for a in range(LAYERS) for b in range(LAYERS)
                   if abs(ranks[a] - ranks[b]) > 0.05 * ranks[a])  # fmt: skip
        assert len(picture.find_elements(By.CSS_SELECTOR, "polyline")) == len(grids.grids)


def test_a_drag_keeps_what_it_went_over_in_all_lenses(shown: Any, grids: LensGrids) -> None:
    everything = kept(shown)
    positions = everything[1]
    drag(shown, place(shown, 3, 1), place(shown, 7, 3))
    until(shown, lambda: kept(shown) == ([3, 4, 5, 6, 7], positions[1:4]))
    assert kept(shown, 2) == kept(shown)
    status = shown.find_element(By.CSS_SELECTOR, "[role=status]")
    assert status.text == f"Only layers 3 to 7, positions {positions[1]} to {positions[3]}"
    press(shown, "3")
    until(shown, lambda: lens(shown) == 2)
    assert kept(shown) == ([3, 4, 5, 6, 7], positions[1:4])
    drag(shown, place(shown, 4, -1), place(shown, 5, -1))  # heads of layers
    until(shown, lambda: kept(shown) == ([4, 5], positions[1:4]))
    press(shown, Keys.ESCAPE)
    until(shown, lambda: kept(shown) == everything)
    place(shown, 2, 2).click()
    until(shown, place(shown, 2, 2).find_element(By.CSS_SELECTOR, ".tip").is_displayed)
    drag(shown, place(shown, 2, 2), place(shown, 5, 2))  # where its card was
    until(shown, lambda: kept(shown) == ([2, 3, 4, 5], positions[2:3]))
    shown.find_element(By.CSS_SELECTOR, ".tools p button").click()
    until(shown, lambda: kept(shown) == everything)


def test_two_heads_keep_what_is_between(shown: Any) -> None:
    layers, positions = kept(shown)
    place(shown, -1, 4).click()
    marked = "return document.querySelectorAll('.lens:not([hidden]) table')[0].querySelectorAll('.marked').length"
    until(shown, lambda: shown.execute_script(marked) == 2 * LAYERS + 1)  # the cells, and the heads of both kinds
    assert kept(shown) == (layers, positions)
    place(shown, -1, 2).click()
    until(shown, lambda: kept(shown) == (layers, positions[2:5]))
    assert shown.execute_script(marked) == 0
    place(shown, 6, -1).click()
    place(shown, 6, -1).click()  # the same one twice
    until(shown, lambda: kept(shown) == ([6], positions[2:5]))
    press(shown, Keys.ESCAPE)
    until(shown, lambda: kept(shown) == (layers, positions))
    for one, other in (((-1, 1), (-1, 2)), ((8, 1), (9, 2))):  # with shift, also from cell to cell
        place(shown, *one).click()
        ActionChains(shown).key_down(Keys.SHIFT).click(place(shown, *other)).key_up(Keys.SHIFT).perform()
        until(shown, lambda: kept(shown)[1] == positions[1:3])
    until(shown, lambda: kept(shown)[0] == [8, 9])


def test_the_keyboard_moves_and_keeps(shown: Any, grids: LensGrids) -> None:
    positions = kept(shown)[1]
    while shown.execute_script("return document.activeElement.closest('table') === null"):
        shown.switch_to.active_element.send_keys(Keys.TAB)
    until(shown, lambda: chosen(shown) == {(0, 0)})
    for key, at in ((Keys.ARROW_DOWN, (1, 0)), (Keys.ARROW_RIGHT, (1, 1)), (Keys.END, (1, len(positions) - 1)),
                    (Keys.ARROW_RIGHT, (1, len(positions) - 1)), (Keys.HOME, (1, 0))):  # fmt: skip
        press(shown, key)
        until(shown, lambda at=at: chosen(shown) == {at})
    card = place(shown, 1, 0).find_element(By.CSS_SELECTOR, ".tip")
    until(shown, card.is_displayed)
    for token in said(grids.grids[0].rows[1].cells[0]):
        assert token in card.text
    press(shown, Keys.SHIFT, Keys.ARROW_DOWN)
    press(shown, Keys.SHIFT, Keys.ARROW_RIGHT)
    until(shown, lambda: chosen(shown) == {(2, 1)})
    press(shown, Keys.ENTER)
    until(shown, lambda: kept(shown) == ([1, 2], positions[:2]))
    press(shown, Keys.ARROW_DOWN)  # is the last one
    assert chosen(shown) == {(2, 1)}
    press(shown, Keys.ARROW_UP)
    press(shown, Keys.ARROW_UP)  # the head of the position
    until(shown, lambda: shown.switch_to.active_element == place(shown, -1, 1))
    press(shown, Keys.ENTER)
    press(shown, Keys.ENTER)
    until(shown, lambda: kept(shown) == ([1, 2], positions[1:2]))
    press(shown, Keys.ESCAPE)
    until(shown, lambda: kept(shown) == (list(range(LAYERS)), positions))


def test_paper_has_all_lenses(shown: Any, grids: LensGrids) -> None:
    seen = "return [...document.querySelectorAll('table')].filter((table) => table.offsetHeight).length"
    assert shown.execute_script(seen) == 3
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        until(shown, lambda: shown.execute_script(seen) == 3 * len(grids.grids))
    finally:
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_tokens_stay_text_and_everything_fits(
    window: Any, grids: LensGrids, tmp_path: Path, width: int
) -> None:
    size(window, width)
    window.get(written(tmp_path, nasty(grids)))  # type: ignore[arg-type]
    window.get_log("browser")
    for row, column in ((0, 0), (5, 4), (LAYERS - 1, 5)):
        window.execute_script("arguments[0].focus()", place(window, row, column))
        for key in ("1", "2", "3"):
            press(window, key)
            until(window, lambda key=key: lens(window) == int(key) - 1)
            assert chosen(window) == {(row, column)}
            assert window.execute_script("return document.documentElement.scrollWidth") <= width
    assert window.execute_script("return window.broken") is None
    assert window.execute_script("return document.querySelectorAll('.state :is(script, img)').length") == 0
    assert window.get_log("browser") == []


def test_one_lens_has_no_tabs_and_links_lead_to_other_lenses(
    window: Any, grids: LensGrids, address: str, tmp_path: Path
) -> None:
    size(window, 1280)
    own = grids.grids[0]
    bare = (LensRow(row.layer, tuple(dataclasses.replace(cell, ranks=()) for cell in row.cells)) for row in own.rows)
    one = dataclasses.replace(grids, grids=(dataclasses.replace(own, rows=tuple(bare)),), targets=())
    window.get(written(tmp_path, one))
    assert not window.find_element(By.CSS_SELECTOR, "[role=tablist]").is_displayed()
    place(window, 1, 1).click()
    until(window, lambda: chosen(window) == {(1, 1)})
    window.get(f"{address}#part-5")
    until(window, lambda: lens(window) == 1)
