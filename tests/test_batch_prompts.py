"""Files of prompts: lines, JSON lines, arrays and tables, as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufjac.batch.prompts import PromptLine, read_prompts
from ggufjac.chat.prompt import Message
from ggufjac.errors import UserError


class TestPrompts:
    def test_lines_are_prompts_as_they_stand(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.txt"
        path.write_bytes("\ufeff one \r\n\r\n\u2028two\x0bthree\n one \n".encode())
        assert read_prompts(path) == (PromptLine(1, " one "), PromptLine(3, "\u2028two\x0bthree"))

    def test_json_lines_have_ids_and_targets(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.jsonl"
        path.write_text(
            '{"prompt": "a\\nb", "id": 7}\n\n{"prompt": [1, 5], "target": " x"}\n{"prompt": "c", "target": 12}\n'
            '{"id": "7", "prompt": "a\\nb"}\n{"prompt": "a\\nb"}\n'
        )
        assert read_prompts(path) == (
            PromptLine(1, "a\nb", "7"),
            PromptLine(3, (1, 5), None, " x"),
            PromptLine(4, "c", None, "#12"),
            PromptLine(6, "a\nb"),
        )

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ('{"prompt": "a"}\n{"prompt": "b"', "line 2: this is no JSON"),
            ('{"prompt": "a"}\n\n["b"]', "line 3: this is no JSON object"),
            ('{"promt": "a"}', "line 1: there is no field 'promt'; did you mean 'prompt'?"),
            ('{"a": "b", "c": "d"}', "line 1: the prompt is missing; name the column with --column, of a, c"),
            ('{"messages": []}', "line 1: the messages is []"),
            ('{"messages": [{"role": "user"}]}', "line 1, message 1: the content is"),
            ('{"prompt": "a", "answer": ["b"]}', "line 1: answer is"),
            ('{"id": "a"}', "line 1: the prompt is missing"),
            ('{"prompt": ""}', "line 1: the prompt is empty"),
            ('{"prompt": [1, "a"]}', 'line 1: the prompt is [1, "a"]; it must be a text, a list of token ids, or a'),
            ('{"prompt": [true]}', "line 1: the prompt is"),
            ('{"prompt": "a", "target": ["b"]}', "line 1: target is"),
            ('{"prompt": "\\ud800"}', "line 1: "),
            ('{"prompt": "a", "id": "\\ud800"}', "line 1: "),
            ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": "1"}', "line 2: the id '1' is that of line 1"),
            ("[" * 100_000, "line 1: this is no JSON"),
            ("\n\n", "holds no prompt"),
        ],
    )
    def test_bad_lines_are_named(self, tmp_path: Path, text: str, word: str) -> None:
        path = tmp_path / "prompts.jsonl"
        path.write_text(text)
        with pytest.raises(UserError) as refused:
            read_prompts(path)
        assert word in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_chats_answers_and_what_stands_beside_them(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.jsonl"
        path.write_text(
            '{"messages": [{"role": "user", "content": "Hi"}], "answer": "Hello", "lang": "en", "n": 2}\n'
            '{"prompt": "a", "label": "x"}\n{"prompt": "a", "label": "y"}\n'
        )
        chat, plain = read_prompts(path)
        assert (chat.prompt, chat.messages, chat.answer) == ("", (Message("user", "Hi"),), "Hello")
        assert json.loads(chat.extra) == {"lang": "en", "n": 2}
        assert plain == PromptLine(2, "a", extra='{"label": "x"}')  # the first one of two that are alike counts

    def test_a_json_array(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.json"
        path.write_text('["one", {"text": "two", "k": 1}, [3, 4], [{"role": "user", "content": "Hi"}]]')
        one, two, three, four = read_prompts(path)
        assert (one.line, one.prompt, two.prompt, three.prompt) == (1, "one", "two", (3, 4))
        assert two.extra == '{"k": 1}'
        assert four.messages == (Message("user", "Hi"),)
        path.write_text('{"prompt": "one"}')
        with pytest.raises(UserError, match="no JSON array"):
            read_prompts(path)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.csv", 'question,label,target\n"One, two",x," Paris"\n\nThree,,\n'),
            ("a.csv", "question;label;target\r\nOne, two;x; Paris\r\nThree;;\r\n"),
            ("a.tsv", "question\tlabel\ttarget\nOne, two\tx\t Paris\nThree\t\t\n"),
        ],
    )
    def test_tables(self, tmp_path: Path, name: str, text: str) -> None:
        path = tmp_path / name
        path.write_bytes(text.encode())
        first, second = read_prompts(path)
        assert (first.line, first.prompt, first.target, first.extra) == (2, "One, two", " Paris", '{"label": "x"}')
        assert (second.prompt, second.target, second.extra) == ("Three", None, '{"label": ""}')
        with pytest.raises(UserError, match=r"line [34]: the label is empty"):
            read_prompts(path, "label")

    def test_a_prompt_may_have_lines_and_a_chat_a_cell(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text('id,messages\n1,"[{""role"": ""user"", ""content"": ""a\\nb""}]"\n')
        (line,) = read_prompts(path)
        assert (line.id, line.messages) == ("1", (Message("user", "a\nb"),))
        path.write_text('mine\n"a\nb"\nc\n')
        assert read_prompts(path) == (PromptLine(2, "a\nb"), PromptLine(4, "c"))

    @pytest.mark.parametrize(
        ("name", "text", "column", "word"),
        [
            ("a.csv", "a,b\n1,2\n", None, "line 2: the prompt is missing; name the column with --column, of a, b"),
            ("a.csv", "a,b\n1,2\n", "c", "line 2: there is no 'c'; there are a, b"),
            ("a.csv", "promt\n1\n", None, "did you mean 'prompt'?"),
            ("a.csv", "prompt,prompt\n1,2\n", None, "two columns are called 'prompt'"),
            ("a.csv", "prompt\n1,2\n", None, "line 2: there are 2 cells, and 1 columns have a name"),
            ("a.csv", 'prompt\n"a\n', None, "line 2: this is no row of a table"),
            ("a.csv", "prompt\n", None, "holds no prompt"),
            ("a.txt", "a\n", "prompt", "lines of text have no columns"),
        ],
    )
    def test_bad_tables_are_named(self, tmp_path: Path, name: str, text: str, column: str | None, word: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UserError) as refused:
            read_prompts(path, column)
        assert word in str(refused.value)

    def test_bad_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.txt"
        path.write_bytes(b"abc\xff")
        with pytest.raises(UserError, match=r"not UTF-8.*byte 3"):
            read_prompts(path)
