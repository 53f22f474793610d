"""Chats: templates of many families rendered as transformers renders them, hostile ones refused in one line, and what
becomes of the text: BOS once, and every message among the tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import printed
from ggufjac.analyses.attribute import Attribution, attribute
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.inspect import inspect
from ggufjac.analyses.options import AnalysisOptions, AttributeOptions
from ggufjac.chat.child import rendered
from ggufjac.chat.messages import messages_of, parse_messages
from ggufjac.chat.prompt import Message, Prompt, Turn, contents_first, turns_of
from ggufjac.chat.template import ChatTemplate
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.notes import HINT, TYPED, notes_of
from ggufjac.reports.tables.inspection import inspection_report
from tinymodels import BOS, make

FOLDER = Path(__file__).parent / "templates"
GOLDEN = json.loads((FOLDER / "rendered.json").read_text(encoding="utf-8"))
CONVERSATIONS = json.loads((FOLDER / "conversations.json").read_text(encoding="utf-8"))
HI = (Message("user", "the bridge"),)
#: A template in Mistral's manner, which spells BOS itself, and one that does not.
SPELT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} {% endfor %}[assistant]"
BARE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def request(source: str, conversation: dict[str, Any]) -> dict[str, Any]:
    messages, generation = conversation["messages"], conversation.get("add_generation_prompt", True)
    continues = generation and messages[-1]["role"] == "assistant"
    return {
        "template": source,
        "messages": messages,
        "variables": GOLDEN["special"],
        "add_generation_prompt": generation and not continues,
        "continues": continues,
        "now": GOLDEN["now"],
        "longest": 10**6,
    }


# --- templates --------------------------------------------------------------------------------------------------


def test_there_are_families_enough() -> None:
    assert len(GOLDEN["rendered"]) >= 20
    assert {path.stem for path in FOLDER.glob("*.jinja")} == set(GOLDEN["rendered"])


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", GOLDEN["rendered"])
def test_it_is_what_transformers_renders(name: str, conversation: str) -> None:
    source, wanted = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8"), GOLDEN["rendered"][name][conversation]
    asked = request(source, CONVERSATIONS[conversation])
    if wanted is None:
        with pytest.raises(Exception, match="not supported"):
            rendered(asked)
        return
    answer = rendered(asked)
    assert answer["text"] == wanted
    for message, (start, stop) in zip(asked["messages"], answer["spans"], strict=bool(answer["spans"])):
        assert wanted[start:stop].strip() in message["content"]
    assert answer["spans"] or conversation == "thought"  # a template may rewrite what an answer was thought to be


def test_the_process_renders_the_same() -> None:
    """With the date that it is told, and with contents that JSON must not harm."""
    name = "meta-llama-Llama-3.2-3B-Instruct"
    template = ChatTemplate((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"), "x.gguf", GOLDEN["special"])
    now = datetime.fromisoformat(GOLDEN["now"])
    for conversation in ("one message", "other scripts", "begun"):
        messages = messages_of(CONVERSATIONS[conversation]["messages"])
        prompt = template.prompt(messages, now=now)
        assert prompt.text == GOLDEN["rendered"][name][conversation]
        assert prompt.messages == messages
        (start, stop), *_ = prompt.spans
        assert prompt.text[start:stop] == messages[0].content
    assert "07 Mar 2026" in prompt.text


def test_named_parts_are_known() -> None:
    """A content that the template alone takes as parts; `generation`; loop controls; JSON without HTML's escapes."""
    parts = "{% for m in messages %}{% for p in m.content %}<{{ p.text }}>{% endfor %}{% endfor %}"
    assert ChatTemplate(parts, "x").prompt(HI).text == "<the bridge>"
    controls = "{% for m in messages %}{% generation %}{{ m | tojson }}{% endgeneration %}{% break %}{% endfor %}"
    both = (Message("user", "<é>"), Message("user", "b"))
    assert ChatTemplate(controls, "x").prompt(both).text == '{"role": "user", "content": "<é>"}'


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "longer than 4 s"),
        ("{% for a in range(99999) %}{% for b in range(9999) %}xxxxxxxxxx{% endfor %}{% endfor %}", "characters"),
        ("{{ 'a' * 10000000000 }}", "memory"),
        ("{#" + "x" * 1_000_000 + "#}", "at most 500000"),
        ("{{ raise_exception('none\n\x1b[31m of these') }}", "refuses these messages: none [31m of these"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "may not use"),
        ("{{ cycler.__init__.__globals__.os.system('touch {there}') }}", "may not use"),
        ("{{ '{0.__class__.__init__.__globals__}'.format(messages) }}", "may not use"),
        ("{{ messages.append(1) }}", "may not use"),
        ("{% set ns = namespace(__class__=1) %}", "may not use"),
        ("{% include '/etc/passwd' %}", "fails"),
        ("{% if %}", "no valid Jinja"),
        ("{% frobnicate %}", "no valid Jinja"),
        ("{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}", "nested too deeply"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply"),
        ("{{ nothing.at.all }}", "fails: UndefinedError"),
    ],
    ids=range(16),
)
def test_hostile_templates_give_one_line(source: str, word: str, tmp_path: Path) -> None:
    there = tmp_path / "touched"
    with pytest.raises(UserError) as told:
        ChatTemplate(source.replace("{there}", str(there)), "x.gguf").prompt(HI)
    line = str(told.value)
    assert line.startswith("x.gguf: the template ")
    assert word in line
    assert line.isprintable()
    assert len(line) < 500
    assert not there.exists()


def test_a_stranger_beside_the_file_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert ChatTemplate(BARE, "x").prompt(HI).text == "user: the bridge\n"


def test_the_process_is_light() -> None:
    heavy = ("torch", "numpy", "gguf", "llama_cpp", "rich", "ggufjac.reader", "ggufjac.maps")
    probe = f"import sys, ggufjac.chat.child, ggufjac.chat.environment; print([m for m in {heavy} if m in sys.modules])"
    light = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert light.stdout.strip() == "[]"


# --- messages ---------------------------------------------------------------------------------------------------


def test_messages_as_people_write_them() -> None:
    two = (Message("system", "a"), Message("user", "b\nc"))
    plain = [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": x} for x in "bc"]},
    ]
    assert messages_of(plain) == two
    assert parse_messages(json.dumps(plain), "x") == two
    assert parse_messages(json.dumps({"model": "m", "messages": plain}), "x") == two
    assert messages_of(two) == two
    assert messages_of("b") == (Message("user", "b"),)
    assert messages_of([{"role": "user", "content": "b", "tool_calls": None}]) == (Message("user", "b"),)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "no JSON"),
        ("3", "no list"),
        ("[]", "no message"),
        ('["a"]', "message 1 is no object"),
        ('[{"content": "a"}]', "the role is missing"),
        ('[{"role": "user"}]', "the content is missing"),
        ('[{"role": "user", "content": 3}]', "the content is 3"),
        ('[{"role": "user", "content": [{"type": "image_url"}]}]', "a part of its content"),
        ('[{"role": "user", "content": "a", "tool_calls": []}]', "'tool_calls' is not understood"),
        ('[{"role": "user", "content": "\\ud800"}]', "lone surrogate"),
    ],
)
def test_messages_that_are_none(text: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse_messages(text, "x.json")


# --- on a model -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chatty_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose template spells BOS, with another template that does not."""
    texts = {"tokenizer.chat_template": SPELT, "tokenizer.chat_template.bare": BARE}
    return make("llama", tmp_path_factory.mktemp("chatty") / "llama.gguf", texts=texts)


@pytest.fixture(scope="module")
def chatty(chatty_path: Path) -> Iterator[Model]:
    with Model.open(chatty_path) as model:
        yield model


def test_bos_comes_once(chatty: Model) -> None:
    chat, bare = chatty.chat(HI), chatty.chat(HI, template="bare")
    assert chat.text.startswith("<s>[user]")
    for prompt in (chat, bare):
        ids = chatty.ids_of(prompt)
        assert ids[0] == BOS
        assert BOS not in ids[1:]
    assert chatty.ids_of(chatty.chat(HI, template="bare", bos="no"))[0] != BOS
    assert chatty.ids_of(chatty.chat(HI, bos="no"))[0] == BOS  # the template's own
    plain = chatty.ids_of("the")
    assert plain == chatty.tokenize("the") == chatty.ids_of(Prompt("the", bos="yes"))
    assert chatty.ids_of(Prompt("the", bos="no")) == plain[1:]
    assert BOS not in chatty.ids_of(Prompt("<s>", bos="no", special=False))
    assert chatty.tokenize("<s>", special=False)[1:] == chatty.ids_of(Prompt("<s>", special=False))[1:]
    assert chatty.render(HI) == chat.text
    assert chatty.render("the bridge", template="bare") == "user: the bridge\n"


def test_turns_are_where_the_contents_are(chatty: Model) -> None:
    messages = (Message("system", "user"), Message("user", " the bridge\n"), Message("assistant", "an"))
    for template in (None, "bare"):
        prompt = chatty.chat(messages, False, template=template)
        subject = Subject(chatty, prompt, AnalysisOptions())
        assert [turn.role for turn in subject.turns] == ["system", "user", "assistant"]
        for turn, message in zip(subject.turns, messages, strict=True):
            covered = b"".join(subject.speller.raw(i) for i in subject.ids[turn.start : turn.stop]).decode()
            assert prompt.text[turn.begin : turn.end].strip() == message.content.strip()
            assert message.content.strip() in covered
            assert (
                len(covered.strip()) <= len(message.content.strip()) + 1
            )  # of the template at most what a token holds
    # a prompt that was made by hand, where contents are looked for one after the other
    by_hand = Prompt("[x] user [y] the [z] ", (Message("x", "user"), Message("y", " the "), Message("z", "gone")))
    assert [turn.role for turn in turns_of(by_hand, [b"<s>", b"[x", b"] u", b"ser [", b"y]", b" the ", b"[z] "])] == [
        "x",
        "y",
    ]
    assert turns_of(by_hand, [b"[x", b"] u", b"ser [", b"y] the ", b"[z] "])[0].start == 1
    assert Subject(chatty, "the", AnalysisOptions()).turns == ()


def test_an_answer_that_has_begun_goes_on(chatty: Model) -> None:
    begun = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "bridge "}]
    assert chatty.render(begun, template="bare") == "user: the\nassistant: bridge "
    assert chatty.render(begun) == "<s>[user] the [assistant] bridge "
    assert chatty.render(begun, False, template="bare") == "user: the\nassistant: bridge \n"


def test_notes(chatty: Model, tiny: Model) -> None:
    def notes(prompt: str | Prompt, model: Model = chatty) -> tuple[str, ...]:
        return notes_of(model, prompt, model.ids_of(prompt))

    assert notes("the bridge") == (HINT,)
    assert notes("the bridge", tiny) == ()
    assert notes(chatty.chat(HI)) == ()
    assert notes("the</s> bridge") == ()
    twice = "the prompt begins with BOS twice (<s>): --bos no leaves one out"
    assert notes("<s>the") == (twice,)
    assert notes(Prompt("<s>the", bos="no")) == ()
    assert notes("the</s>\\nbridge") == (TYPED,)
    assert notes("a\\nb\\nc", tiny) == (TYPED,)
    assert notes("a\\nb", tiny) == notes("a\nb\nc", tiny) == ()
    assert notes_of(chatty, chatty.ids_of("the"), chatty.ids_of("the")) == ()


def test_a_file_without_a_template_says_so(tiny: Model, chatty: Model) -> None:
    with pytest.raises(UserError, match="no chat template"):
        tiny.chat(HI)
    with pytest.raises(UserError, match=r"--template takes bare"):
        chatty.chat(HI, template="nope")
    with pytest.raises(UserError, match="no message"):
        chatty.chat([])


@pytest.fixture(scope="module")
def explained(chatty: Model) -> Attribution:
    return attribute(chatty, chatty.chat([*HI, Message("assistant", "an")]), AttributeOptions(top=1))


def test_reports_tell_the_turns(explained: Attribution) -> None:
    assert [turn.role for turn in explained.turns] == ["user", "assistant"]
    shown = printed(explained, 120)
    assert "turns" in shown
    assert "all others the template's" in shown
    page = explained.page()
    assert "all others the template" in page
    again = Result.from_dict.__func__(Attribution, explained.to_dict())  # type: ignore[attr-defined]
    assert again.turns == explained.turns


def test_of_a_long_chat_the_table_lists_what_was_said(chatty: Model) -> None:
    messages = [Message("user", "the bridge " * 12), Message("assistant", "a")]
    long = attribute(chatty, chatty.chat(messages), AttributeOptions(top=1))
    shown = printed(long, 120)
    assert "of the template" in shown
    table = shown.split("What each word gives")[-1].split("Which words mattered")[-1].split("sum")[0]
    assert "assistant" in table
    assert "[" not in table.split("…")[0].replace("[1m", "")


def test_rankings_have_the_messages_first() -> None:
    turns = (Turn("user", 1, 3),)
    assert contents_first([5.0, 0.1, 0.2, 7.0], turns) == pytest.approx([-3.0, 0.1, 0.2, -1.0])
    assert contents_first([5.0, 0.1], ()) == [5.0, 0.1]


def test_inspect_shows_an_example(chatty: Model, tiny: Model) -> None:
    found = inspect(chatty.file)
    assert found.chat == "<s>[system] Answer in one word. [user] Is the sky blue? [assistant]"
    assert found.tokenizer["chat_template"] == "yes, bare"
    assert "Is the sky blue?" in printed(inspection_report(found), 100)
    assert inspect(tiny.file).chat is None
