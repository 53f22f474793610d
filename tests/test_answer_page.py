"""The page of an answer: it holds the result's terms, is safe whatever tokens say, and shows what one chooses."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from browser import size, until
from conftest import IDS
from ggufjac.analyses.answer.answering import Answer, Said, answer
from ggufjac.analyses.answer.spans import sentences_of
from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.questions import Question
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import words_of
from ggufjac.analyses.options import AnswerOptions
from ggufjac.chat.prompt import Turn
from ggufjac.maps.model import Model
from ggufjac.reports.page import page
from ggufjac.reports.page.kinds import answer as kind
from ggufjac.reports.page.shades import STRONGEST
from ggufjac.reports.page.spelling import drawn, spelled
from test_page import read

By: Any = pytest.importorskip("selenium.webdriver.common.by", reason="selenium is not installed").By
Keys: Any = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys

#: A chat with a template, and texts that mean something to HTML, to scripts and to readers of other scripts.
SYSTEM = (" Be", " brief", ".")
ASKED = ("<script>window.broken=1</script>", " <b>what", " \"is'", " zero\u200bwidth", " \u202eit", "?", "\n", " &amp;",
         b" \xf0\x9f", b"\x98\x80", " שלום", "a" * 90)  # fmt: skip
SAID = ("It", " is", " </script>", " 42", ".", "\n", " Yes", "<|end|>")
RAW: tuple[str | bytes, ...] = ("<|system|>", "\n", *SYSTEM, "<|end|>", "<|user|>", *ASKED, "<|end|>", "<|assistant|>",
                                *SAID)  # fmt: skip
PROMPT = len(RAW) - len(SAID)
TURNS = (Turn("system", 2, 5), Turn("user", 7, 7 + len(ASKED)))
#: Places of the answer that have no second account.
CERTAIN = {0, 3}


def by_hand(base: Answer, raw: Sequence[str | bytes], n_prompt: int, turns: tuple[Turn, ...]) -> Answer:
    """The answer of a model with another text, and terms that are drawn at random."""
    pieces = [part.encode() if isinstance(part, str) else part for part in raw]
    tokens = tuple(Piece(i, part.decode("utf-8", "backslashreplace")) for i, part in enumerate(pieces))
    words = words_of(pieces, [part.startswith(b"<|") for part in pieces])
    drawn_at = random.Random(1)
    said = []
    for position in range(n_prompt, len(raw)):
        token = Prediction(tokens[position], 9.0, 0.75, 1)
        other = Prediction(Piece(999, "<i>other"), 8.0, 0.2 if position - n_prompt not in CERTAIN else 0.001, 2)

        def account(above: str, against: Prediction | None, token: Prediction = token, n: int = position) -> Account:
            terms = tuple(-6.0 if t == 0 else drawn_at.gauss(0, 1) for t in range(n))
            value = sum(terms) + 0.5 + 2.0
            return Account(Question(token, above, against, value), "half", terms, 0.5, 2.0, (0,))

        tipped = None if position - n_prompt in CERTAIN else account("token", other)
        said.append(Said(position, account("chance", None), (token, other), other, tipped))
    boundaries = (n_prompt, *(edge for turn in turns for edge in (turn.start, turn.stop)))
    return dataclasses.replace(
        base,
        prompt="".join(piece.text for piece in tokens[:n_prompt]),
        tokens=tokens,
        n_prompt=n_prompt,
        words=words,
        sentences=sentences_of(words, boundaries),
        said=tuple(said),
        sinks=(0,),
        turns=turns,
    )


@pytest.fixture(scope="module")
def base(tiny: Model) -> Answer:
    with torch.no_grad():
        return answer(tiny, IDS[:4], AnswerOptions(tokens=2, rivals="none", verify=False))


@pytest.fixture(scope="module")
def chat(base: Answer) -> Answer:
    return by_hand(base, RAW, PROMPT, TURNS)


@pytest.fixture(scope="module")
def bare(base: Answer) -> Answer:
    return by_hand(base, ("<s>", "One", " two", " three", ".", " Four", " five"), 4, ())


def block(document: str) -> dict[str, Any]:
    """What the page's script is told."""
    (told,) = re.findall(r'<script type="application/json" id="told">(.*?)</script>', document, re.DOTALL)
    found: dict[str, Any] = json.loads(told)
    return found


def rows(packed: dict[str, Any], lengths: Sequence[int]) -> Iterator[np.ndarray[Any, Any]]:
    numbers = np.frombuffer(base64.b64decode(packed["packed"]), "<i2")
    assert len(numbers) == sum(lengths)
    for scale, part in zip(packed["scales"], np.split(numbers, np.cumsum(lengths)[:-1]), strict=True):
        yield part * scale


# --- what the page holds ------------------------------------------------------------------------------------------


def test_it_holds_the_terms_to_16_bits(chat: Answer) -> None:
    told = block(page(chat))
    tipped = [said for said in chat.said if said.tipped is not None]
    for name, accounts in (
        ("terms", [said.account for said in chat.said]),
        ("tipped", [said.tipped for said in tipped if said.tipped is not None]),
    ):
        found = list(rows(told[name], [len(account.terms) for account in accounts]))
        for row, account in zip(found, accounts, strict=True):
            step = max(map(abs, account.terms)) / kind.FULL
            assert np.abs(row - account.terms).max() <= step / 2 * (1 + 1e-9)
    assert [said["over"] is not None for said in told["said"]] == [said.tipped is not None for said in chat.said]
    assert [said["likely"]["value"] for said in told["said"]] == pytest.approx(
        [said.account.question.value for said in chat.said], abs=1e-4
    )


def test_every_token_is_of_one_passage(chat: Answer) -> None:
    for unit in block(page(chat))["units"]:
        assert len(unit["of"]) == len(chat.tokens)
        for number, passage in enumerate(p for p in chat.passages(unit["name"]) if p.label != "template"):
            assert [t for t, of in enumerate(unit["of"]) if of == number] == list(passage.positions)
        assert unit["own"] == number + 1


def test_it_is_well_formed_and_runs_nothing_of_a_token(chat: Answer) -> None:
    document = page(chat)
    found = read(document)
    scripts = [attrs.get("type") for name, attrs in found.found if name == "script"]
    assert scripts == ["application/json", None]
    (script,) = re.findall(r"<script>(.*?)</script>", document, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in document
    assert "<script>window.broken=1</script>" in found.said
    assert "\\u200b" in found.said
    assert "\u200b" not in document
    assert "\u202e" not in document


def test_the_conversation_is_shaded_by_the_sums_of_words(chat: Answer) -> None:
    found = read(page(chat))
    tokens = [attrs for name, attrs in found.found if name == "span" and (attrs["class"] or "").split()[:1] == ["t"]]
    assert len(tokens) == len(chat.tokens)
    sums = {t: sum(chat.whole[t] for t in p.positions) for p in chat.passages("word") for t in p.positions
            if p.label != "template"}  # fmt: skip
    templates = {t: chat.whole[t] for p in chat.passages("word") if p.label == "template" for t in p.positions if t}
    given = {**sums, **templates}
    largest = max(map(abs, given.values()))
    for t, attrs in enumerate(tokens):
        share = abs(given.get(t, 0.0)) / largest
        shown = attrs.get("style")
        assert float((shown or "--v:0").removeprefix("--v:")) == pytest.approx(
            STRONGEST * share if share >= 0.01 else 0, abs=1e-4
        )
        if shown:
            assert f"heat {'neg' if given[t] < 0 else 'pos'}" in (attrs["class"] or "")
    summaries = [text for tag, text in found.text if text.startswith("template, ")]
    assert summaries == ["template, 2 tokens", "template, 2 tokens", "template, 2 tokens"]


def test_messages_stand_under_their_roles(chat: Answer, bare: Answer) -> None:
    for found, roles in ((chat, ["system", "user", "answer"]), (bare, ["prompt", "answer"])):
        assert re.findall(r'<span class="who">(\w+)</span>', page(found)) == roles


def test_a_cell_needs_no_script(chat: Answer) -> None:
    cell = chat._repr_html_()
    assert "<script" not in cell
    assert '<div class="talk">' in cell
    assert read(cell).open == []


def test_a_character_of_several_tokens_is_the_last_ones() -> None:
    pieces = [b"a", b" \xf0\x9f", b"\x98\x80", b"\xff", b""]
    tokens = [Piece(i, piece.decode("utf-8", "backslashreplace")) for i, piece in enumerate(pieces)]
    words = words_of(pieces, [False] * len(pieces))
    assert spelled(tokens, words) == ["a", " ", "😀", "\\xff", "∅"]
    assert spelled([Piece(0, "\\xf0"), Piece(1, "b")], ()) == ["\\xf0", "b"]


def test_what_cannot_be_seen_is_written_out() -> None:
    assert drawn("a\n<b") == 'a<span class="nl"></span>\n&lt;b'
    assert drawn("\u200b\x1b") == '<span class="esc">\\u200b\\x1b</span>'


# --- in a browser -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(chat: Answer, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "chat.html"
    path.write_text(page(chat), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(window: Any, address: str) -> Any:
    size(window, 1280)
    window.get("about:blank")  # a page that is loaded again may keep its form
    window.get(address)
    return window


def token(window: Any, position: int) -> Any:
    return window.find_elements(By.CSS_SELECTOR, ".t")[position]


def choose(window: Any, position: int) -> None:
    """Click on a token, and wait until it is chosen."""
    element = token(window, position)
    window.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()
    chosen(window, position)


def chosen(window: Any, position: int | None) -> None:
    script = "return [...document.querySelectorAll('.t')].findIndex((t) => t.ariaSelected === 'true')"
    until(window, lambda: window.execute_script(script) == (-1 if position is None else position))


def press(window: Any, name: str, value: str) -> None:
    """Choose a radio button of the panel."""
    button = window.find_element(By.CSS_SELECTOR, f'input[name="{name}"][value="{value}"]')
    button.find_element(By.XPATH, "..").click()
    until(window, button.is_selected)


def shades(window: Any) -> list[float]:
    """The share of the largest value that every token is shaded by, with its sign."""
    read = """return [...document.querySelectorAll('.t')].map((t) => t.classList.contains('heat')
      ? Number(t.style.getPropertyValue('--v')) * (t.classList.contains('neg') ? -1 : 1) : 0)"""
    return [value / STRONGEST for value in window.execute_script(read)]


def expected(values: dict[int, float], n: int, full: float | None = None) -> list[float]:
    full = full or max(map(abs, values.values()))
    shares = [values.get(t, 0.0) / full for t in range(n)]
    return [share if abs(share) >= 0.01 else 0.0 for share in shares]


def sums(found: Answer, terms: Sequence[float], by: str) -> dict[int, float]:
    """What the passage of every token gives, sinks apart; the template by its tokens."""
    given = {}
    for passage in found.passages(by):
        own = [t for t in passage.positions if t < len(terms) and t not in found.sinks]
        alone = passage.label == "template" and by not in ("message", "role")
        given.update({t: terms[t] if alone else sum(terms[s] for s in own) for t in own})
    return given


def panel(window: Any) -> str:
    return str(window.find_element(By.CSS_SELECTOR, ".panel").text)


def test_it_begins_with_the_whole_answer(shown: Any, chat: Answer) -> None:
    assert shades(shown) == pytest.approx(expected(sums(chat, chat.whole, "word"), len(chat.tokens)), abs=2e-3)
    assert "The whole answer" in panel(shown)
    assert f"{sum(said.account.question.value for said in chat.said):+.2f}" in panel(shown)


def test_a_click_on_a_token_shades_those_before_it(shown: Any, chat: Answer) -> None:
    said = chat.said[4]
    choose(shown, said.position)
    given = sums(chat, said.account.terms, "word")
    assert shades(shown) == pytest.approx(expected(given, len(chat.tokens)), abs=2e-3)
    text = panel(shown)
    assert "75.0%" in text
    assert "<i>other" in text
    assert f"{said.account.question.value:+.2f}" in text
    template = sum(said.account.terms[t] for p in chat.passages() if p.label == "template" for t in p.positions if t)
    strongest = max((v for t, v in given.items() if t in {s for p in chat.passages() if p.label != "template"
                     for s in p.positions}), key=abs)  # fmt: skip
    listed = [entry.text for entry in shown.find_elements(By.CSS_SELECTOR, ".panel ol li")]
    assert listed[0].endswith(f"{strongest:+.2f}")
    assert f"template\n{template:+.2f}" in text
    aloud = shown.find_element(By.CSS_SELECTOR, "[aria-live]").get_attribute("textContent")
    assert f"{strongest:+.2f}" in aloud
    assert not shown.execute_script("return window.broken")


def test_numbers_in_the_panel_add_up(shown: Any, chat: Answer) -> None:
    choose(shown, chat.said[-1].position)
    text = [item.text for item in shown.find_elements(By.CSS_SELECTOR, ".panel :is(ol, .beside) li")]
    *parts, total = [float(line.split()[-1]) for line in text]
    assert sum(parts) == pytest.approx(total, abs=0.006 * len(parts))


def test_the_keyboard_moves_among_the_answers_tokens(shown: Any, chat: Answer) -> None:
    n = len(chat.tokens)
    while True:  # the tab key comes to the prompt, then to the answer
        shown.switch_to.active_element.send_keys(Keys.TAB)
        if shown.execute_script("return document.activeElement.closest('.reply') !== null"):
            break
    chosen(shown, PROMPT)
    for key, position in ((Keys.ARROW_RIGHT, PROMPT + 1), (Keys.ARROW_DOWN, PROMPT + 2), (Keys.ARROW_LEFT, PROMPT + 1),
                          (Keys.END, n - 1), (Keys.ARROW_RIGHT, n - 1), (Keys.HOME, PROMPT),
                          (Keys.ARROW_LEFT, PROMPT)):  # fmt: skip
        shown.switch_to.active_element.send_keys(key)
        chosen(shown, position)
    shown.switch_to.active_element.send_keys(Keys.ESCAPE)
    chosen(shown, None)
    assert "The whole answer" in panel(shown)
    shown.switch_to.active_element.send_keys(Keys.ENTER)
    chosen(shown, PROMPT)
    shown.find_element(By.CSS_SELECTOR, ".panel .back").click()
    chosen(shown, None)


def test_a_click_on_the_prompt_shows_what_it_gave(shown: Any, chat: Answer) -> None:
    n = len(chat.tokens)
    press(shown, "unit", "0")
    choose(shown, 8)
    given = {said.position: said.account.terms[8] for said in chat.said}
    assert shades(shown) == pytest.approx(expected(given, n), abs=2e-3)
    assert f"{sum(given.values()):+.2f}" in panel(shown)
    # a token of the answer has both: what gave it, and what it gave
    choose(shown, PROMPT + 2)
    press(shown, "question", "gave")
    given = {said.position: said.account.terms[PROMPT + 2] for said in chat.said[3:]}
    assert shades(shown) == pytest.approx(expected(given, n), abs=2e-3)
    # and the panel leads from one to the other
    shown.find_element(By.CSS_SELECTOR, ".panel ol button").click()
    largest = max(given, key=lambda t: abs(given[t]))
    chosen(shown, largest)
    account = chat.said[largest - PROMPT].account
    assert shades(shown) == pytest.approx(expected(sums(chat, account.terms, "token"), n), abs=2e-3)


def test_a_runner_up_tells_what_tipped_it(shown: Any, chat: Answer) -> None:
    said = chat.said[1]
    assert said.tipped is not None
    choose(shown, said.position)
    press(shown, "question", "over")
    given = sums(chat, said.tipped.terms, "word")
    assert shades(shown) == pytest.approx(expected(given, len(chat.tokens)), abs=2e-3)
    assert f"{said.tipped.question.value:+.2f}" in panel(shown)
    assert "over <i>other" in panel(shown)
    # the choice stays, and places without one say so
    choose(shown, PROMPT + min(CERTAIN))
    over = shown.find_element(By.CSS_SELECTOR, 'input[value="over"]')
    assert not over.is_enabled()
    assert "not close" in over.find_element(By.XPATH, "..").text
    choose(shown, chat.said[2].position)
    assert over.is_selected()


@pytest.mark.parametrize(("number", "by"), [(0, "token"), (1, "word"), (2, "sentence"), (3, "message")])
def test_units(shown: Any, chat: Answer, number: int, by: str) -> None:
    said = chat.said[-1]
    choose(shown, said.position)
    press(shown, "unit", str(number))
    given = sums(chat, said.account.terms, by)
    assert shades(shown) == pytest.approx(expected(given, len(chat.tokens)), abs=2e-3)
    choose(shown, 9)
    own = next(p.positions for p in chat.passages(by) if 9 in p.positions)
    gave = {said.position: sum(said.account.terms[t] for t in own) for said in chat.said}
    assert shades(shown) == pytest.approx(expected(gave, len(chat.tokens)), abs=2e-3)


def test_the_template_is_folded_and_can_be_reached(shown: Any) -> None:
    fold = shown.find_element(By.CSS_SELECTOR, ".fold")
    inside = token(shown, 1)
    assert not inside.is_displayed()
    fold.find_element(By.CSS_SELECTOR, "summary").click()
    until(shown, inside.is_displayed)
    choose(shown, 1)


def test_what_a_prompt_says_is_seen(shown: Any, chat: Answer) -> None:
    text = shown.find_element(By.CSS_SELECTOR, ".asked").text
    assert "<script>window.broken=1</script> <b>what \"is' zero\\u200bwidth \\u202eit?" in text
    assert "&amp; 😀 שלום" in text.replace("·", "")
    top, below = (token(shown, 7 + t).rect["y"] for t in (0, 7))
    assert below > top  # behind the newline
    assert shown.execute_script("return window.broken") is None
    roles = "return [...document.querySelectorAll('.talk [role=listbox]')].map((box) => box.ariaLabel)"
    assert [name for name in shown.execute_script(roles) if "template" not in name] == ["system", "user", "answer"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_and_can_be_read(window: Any, address: str, chat: Answer, scheme: str, width: int) -> None:
    """Nothing is wider than the screen, and text is readable on the strongest colour."""
    size(window, width, scheme=scheme)
    window.get("about:blank")
    window.get(address)
    window.get_log("browser")
    choose(window, chat.said[-1].position)
    assert window.execute_script("return document.documentElement.scrollWidth") <= width
    contrast = """
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const seen = (...colours) => {
      for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => (c / 255) ** 2.2);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = (element) => getComputedStyle(element);
    const paper = style(document.querySelector('.ggufjac')).backgroundColor;
    return [...document.querySelectorAll('.speech .t, .fold summary span')].map((t) => {
      const both = [seen(paper, style(t).backgroundColor), seen(style(t).color)];
      return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    })"""
    assert min(window.execute_script(contrast)) >= 4.5
    seen = "const box = arguments[0].getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight"
    until(window, lambda: window.execute_script(seen, token(window, chat.said[-1].position)))
    assert window.get_log("browser") == []


def test_a_bare_prompt_and_its_answer(window: Any, bare: Answer, tmp_path: Path) -> None:
    path = tmp_path / "bare.html"
    path.write_text(page(bare), encoding="utf-8")
    size(window, 400)
    window.get(path.as_uri())
    assert [box.text for box in window.find_elements(By.CSS_SELECTOR, ".speech")] == ["<s>One two three", ". Four five"]
    choose(window, 5)
    assert shades(window) == pytest.approx(
        expected(sums(bare, bare.said[1].account.terms, "word"), len(bare.tokens)), abs=2e-3
    )


def test_a_tap_chooses(window: Any, address: str, chat: Answer) -> None:
    size(window, 400)
    window.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        window.get("about:blank")
        window.get(address)
        element = token(window, chat.said[1].position)
        window.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        where = "const box = arguments[0].getBoundingClientRect(); return [box.left + box.width / 2, box.top + 8]"
        x, y = window.execute_script(where, element)
        touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
        window.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
        window.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        chosen(window, chat.said[1].position)
    finally:
        window.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_long_prompt_scrolls_to_what_gave_most(window: Any, base: Answer, tmp_path: Path) -> None:
    """In a box of its own, so that it is seen beside the answer."""
    raw = [f" word{i}" for i in range(1500)]
    found = by_hand(base, raw, 1490, ())
    first = found.said[0]
    strongest = max(range(1, 1490), key=lambda t: abs(first.account.terms[t]))
    path = tmp_path / "long.html"
    path.write_text(page(found), encoding="utf-8")
    size(window, 1280)
    window.get(path.as_uri())
    choose(window, first.position)
    inside = """const box = document.querySelector('.asked').getBoundingClientRect();
      const at = arguments[0].getBoundingClientRect(); return at.top >= box.top && at.bottom <= box.bottom"""
    until(window, lambda: window.execute_script(inside, token(window, strongest)))
    last = token(window, len(raw) - 1)
    window.execute_script("arguments[0].scrollIntoView({block: 'end'})", last)
    assert window.find_element(By.CSS_SELECTOR, ".asked").rect["height"] < 800
