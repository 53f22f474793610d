"""A whole answer: its terms add up, are those of one token at a time, and its parts are what a reader calls them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.answer import answering
from ggufjac.analyses.answer.answering import CLOSE, Answer, answer
from ggufjac.analyses.answer.judging import judged
from ggufjac.analyses.answer.spans import ANSWER, PROMPT, TEMPLATE, messages_of, roles_of, sentences_of
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.common.tokens import Speller
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.options import AnswerOptions, AttributeOptions
from ggufjac.chat.prompt import Turn
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.operators.span import Padded, span
from ggufjac.operators.walk import everything
from ggufjac.reports import answer as told


@pytest.fixture(scope="module")
def found(tiny: Model) -> Answer:
    with torch.no_grad():
        return answer(tiny, IDS[:7], AnswerOptions(dtype="float64", tokens=5, rivals="all"))


def test_its_tokens_are_the_likeliest_ones_of_a_longer_and_longer_prompt(tiny: Model, found: Answer) -> None:
    ids = list(IDS[:7])
    for said in found.said:
        with torch.no_grad():
            logits = tiny.linearize(ids, "float64").logits
        assert said.position == len(ids)
        assert said.token.token.id == int(logits.argmax())
        assert said.token.logit == pytest.approx(float(logits.max()), rel=1e-12)
        assert said.runner_up.token.id == int(logits.topk(2).indices[1])
        ids.append(said.token.token.id)
    assert [piece.id for piece in found.tokens] == ids
    assert (found.n_prompt, found.how) == (7, "greedy")
    assert found.judged is not None
    assert found.judged.agrees


@pytest.mark.parametrize("above", ["chance", "zero", "likeliest"])
@pytest.mark.parametrize("rules", [None, "detached"])
def test_its_accounts_are_those_of_attribute_at_every_position(tiny: Model, above: str, rules: str | None) -> None:
    options = AnswerOptions(dtype="float64", tokens=3, above=above, rules=rules, verify=False)  # type: ignore[arg-type]
    with torch.no_grad():
        found = answer(tiny, IDS[:6], options)
        ids = [piece.id for piece in found.tokens]
        for said in found.said:
            one = attribute(
                tiny,
                ids[: said.position],
                AttributeOptions(dtype="float64", target=said.token.token.id, above=above, rules=found.rules),  # type: ignore[arg-type]
            )
            (account,) = one.accounts
            assert said.account.terms == pytest.approx(account.terms, rel=1e-9, abs=1e-11)
            assert said.account.constants == pytest.approx(account.constants, rel=1e-9, abs=1e-11)
            assert said.account.question.value == pytest.approx(account.question.value, rel=1e-11)
            total = sum(said.account.terms) + said.account.constants + said.account.missed
            assert total == pytest.approx(said.account.question.value, rel=1e-11)
            if rules == "detached":
                assert abs(said.account.missed) < 1e-10


def test_what_tipped_it_is_the_difference_to_the_runner_up(found: Answer) -> None:
    for said in found.said:
        assert said.tipped is not None
        assert said.tipped.rules == "half"
        assert said.tipped.question.against == said.runner_up
        total = sum(said.tipped.terms) + said.tipped.constants
        assert total == pytest.approx(said.lead, rel=1e-9, abs=1e-9)
    assert [said.position for said in found.decisive] == sorted(said.position for said in found.decisive)
    closest = min(found.said, key=lambda said: abs(said.lead))
    assert closest in found.decisive


def test_only_close_places_are_told_apart(tiny: Model) -> None:
    with torch.no_grad():
        close = answer(tiny, IDS[:5], AnswerOptions(tokens=4, verify=False))
        none = answer(tiny, IDS[:5], AnswerOptions(tokens=4, verify=False, rivals="none"))
    assert all((said.tipped is not None) == (said.runner_up.probability >= CLOSE) for said in close.said)
    assert not any(said.tipped for said in none.said)


def test_the_whole_is_the_sum_of_its_tokens(found: Answer) -> None:
    ln_p = sum(math.log(said.token.probability) for said in found.said)
    assert found.log_probability == pytest.approx(ln_p)
    besides = told.beside(found)
    n_vocab = 320  # of the tiny model, all alike at chance
    assert besides.value == pytest.approx(ln_p + len(found.said) * math.log(len(found.arrays["logits"][0])), rel=1e-9)
    assert len(found.arrays["logits"][0]) >= n_vocab
    for by in ("token", "word", "sentence", "message", "role"):
        given = sum(giver.term for giver in told.whole(found, by))
        total = given + besides.shared + besides.constants + besides.missed
        assert total == pytest.approx(besides.value, rel=1e-9)
        positions = sorted(itertools.chain(*(passage.positions for passage in found.passages(by))))
        assert positions == list(range(len(found.tokens)))


def test_against_one_token_everywhere(tiny: Model) -> None:
    with torch.no_grad():
        found = answer(tiny, IDS[:5], AnswerOptions(dtype="float64", tokens=3, against=42, verify=False))
    assert found.above == "token"
    for said in found.said:
        assert said.account.question.against is not None
        assert said.account.question.against.token.id == 42
        value = said.token.logit - said.account.question.against.logit
        assert sum(said.account.terms) + said.account.constants == pytest.approx(value, rel=1e-9, abs=1e-9)
    with pytest.raises(UserError, match="not both"):
        answer(tiny, IDS[:5], AnswerOptions(against=42, above="zero"))


def test_an_answer_that_is_given(tiny: Model) -> None:
    with torch.no_grad():
        found = answer(tiny, "Hello there", AnswerOptions(say=" abc", verify=False))
    assert found.how == "given"
    assert found.text == " abc"
    whole = tiny.tokenize("Hello there abc")
    assert [piece.id for piece in found.tokens] == whole
    with pytest.raises(UserError, match="the answer is empty"):
        answer(tiny, "Hello", AnswerOptions(say=""))


def test_a_continuation_that_the_tokenizer_would_join_is_cut_by_itself(tiny: Model) -> None:
    prompt = tiny.tokenize("Hello")
    assert tiny.continuation(prompt, " there") == tiny.tokenize("Hello there")[len(prompt) :]
    joined = tiny.continuation(prompt, "there")
    assert b"".join(tiny.vocab.piece(i) for i in joined) == b"there"


def test_little_memory_gives_the_same(tiny: Model) -> None:
    """Coefficients are made anew, and columns come in chunks."""
    ids = (IDS * 4)[:40]
    positions = range(20, 40)
    options = MapOptions("float64", rules="lrp-qk")
    with torch.no_grad():
        roomy = tiny.linearize_text(ids, positions, options)
        w = torch.randn(20, roomy.shape[0], dtype=torch.float64)
        expected = roomy.attribute(w, range(20))
        tight = tiny.linearize_text(ids, positions, MapOptions("float64", rules="lrp-qk", memory=1 << 20))
        assert tight.held_bytes < roomy.held_bytes
        got = tight.attribute(w, range(20))
    assert (got - expected).abs().max() < 1e-11 * expected.abs().max()


def test_columns_that_end_early_are_short_in_every_operator_of_a_transformer(tiny: Model) -> None:
    """An operator that is padded instead is right as well, and saves nothing."""
    with torch.no_grad():
        text = tiny.linearize_text(IDS, range(5, len(IDS)), MapOptions("float64", rules="lrp-qk"))
    for op in text.operators[:-2]:
        assert not any(isinstance(part, Padded) for part in everything(span(op, 0, 7, len(IDS))))


def test_the_answer_ends_where_the_context_does(tiny: Model) -> None:
    n = tiny.family.n_ctx_train
    ids = (IDS * n)[: n - 2]
    with torch.no_grad():
        found = answer(tiny, ids, AnswerOptions(tokens=50, verify=False, rivals="none"))
    assert len(found.said) <= 3
    with pytest.raises(UserError, match="context"):
        answer(tiny, (IDS * n)[:n], AnswerOptions(tokens=5))


def test_llama_cpp_goes_on_as_from_a_longer_prompt(tiny: Model) -> None:
    ids = IDS[:6]
    with Runner(tiny.file.path, 64) as llama:
        got = list(llama.goes_on(ids, 5, lambda row: int(row.argmax()), lambda _: False))
        expected = list(ids)
        for _ in range(5):
            expected.append(int(llama.logits(expected).argmax()))
        rows = llama.logits_at(expected, [3, 8])
        assert (rows[1] == llama.logits(expected, all_positions=True)[8]).all()
        assert list(llama.goes_on(ids, 5, lambda row: int(row.argmax()), lambda token: token == got[0])) == got[:1]
    assert got == expected[6:]


def test_the_answer_that_llama_cpp_gave(tiny: Model) -> None:
    with torch.no_grad():
        found = answer(tiny, IDS[:6], AnswerOptions(tokens=4, run="llama.cpp", rules="half"))
    assert found.llama is not None
    assert found.judged is None
    assert found.reconstruction < 1e-4
    with Runner(tiny.file.path, 256) as llama:
        expected = list(llama.goes_on(IDS[:6], 4, lambda row: int(row.argmax()), lambda _: False))
    assert [piece.id for piece in found.tokens[6:]] == expected
    for said in found.said:
        total = sum(said.account.terms) + said.account.constants
        assert total == pytest.approx(said.account.question.value, rel=1e-3, abs=1e-3)


def test_llama_cpp_is_asked_about_every_place(tiny: Model) -> None:
    ids = list(IDS)
    with torch.no_grad():
        text = tiny.linearize_text(ids[:-1], range(5, len(ids) - 1), MapOptions("float64"))
    same = judged(tiny, ids, 6, text.logits, Speller(tiny.vocab))
    assert (same.places, same.same, same.differing) == (len(ids) - 6, len(ids) - 6, ())
    tied = text.logits.clone()
    first, second = tied[1].topk(2).indices
    tied[1, second] = tied[1, first]
    assert 7 in judged(tiny, ids, 6, tied, Speller(tiny.vocab)).close
    wrong = text.logits.clone()
    wrong[2] = wrong[2].flip(0)
    told_off = judged(tiny, ids, 6, wrong, Speller(tiny.vocab))
    assert [place.position for place in told_off.differing] == [8]
    assert not told_off.agrees


def test_it_can_be_read_again(found: Answer, tmp_path: Path) -> None:
    found.save(tmp_path / "answer.safetensors")
    again = Answer.from_dict(found.to_dict())
    assert again.said == found.said
    assert again.decisive == found.decisive
    from ggufjac.analyses.table import load

    assert load(tmp_path / "answer.safetensors") == found


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_report_fits(found: Answer, width: int) -> None:
    shown = printed(found, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "Token by token" in shown
    assert "The whole answer" in shown


# --- larger parts of a text ---------------------------------------------------------------------------------------


def _words(*texts: str) -> list[Word]:
    return [Word(text, i, i + 1) for i, text in enumerate(texts)]


def test_sentences_end_at_their_signs_and_at_lines() -> None:
    words = _words("He", " said", ":", " “", "Go", ".”", " Then", "\n", " 3.14", " is", " pi", "!", " End")
    assert [s.text for s in sentences_of(words)] == ["He said: “Go.”", " Then\n", " 3.14 is pi!", " End"]
    assert [s.start for s in sentences_of(words, [10])] == [0, 6, 8, 10, 12]


def test_messages_and_roles_cover_the_text() -> None:
    turns = (Turn("system", 2, 4), Turn("user", 6, 8), Turn("assistant", 9, 10), Turn("user", 11, 13))
    found = {passage.label: passage.positions for passage in messages_of(turns, 15, 18)}
    assert found["user 1"] == (6, 7)
    assert found["user 2"] == (11, 12)
    assert found[ANSWER] == (15, 16, 17)
    assert found[TEMPLATE] == (0, 1, 4, 5, 8, 10, 13, 14)
    by_role = {passage.label: passage.positions for passage in roles_of(turns, 15, 18)}
    assert by_role["user"] == (6, 7, 11, 12)
    assert sorted(itertools.chain(*by_role.values())) == list(range(18))
    assert [passage.label for passage in messages_of((), 3, 5)] == [PROMPT, ANSWER]


def test_a_place_counts_as_decisive_by_how_close_it_was(found: Answer) -> None:
    leads = sorted(abs(said.lead) for said in found.said)
    assert max(abs(said.lead) for said in found.decisive) <= leads[answering.DECISIVE - 1]


@pytest.mark.parametrize(
    "wrong", [{"tokens": 0}, {"temperature": -1.0}, {"temperature": math.nan}, {"top_p": 5.0}, {"top_k": -3}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        AnswerOptions(**wrong)  # type: ignore[arg-type]


def test_a_text_is_cut_in_known_ways_alone(found: Answer) -> None:
    with pytest.raises(UserError, match="there are token, word"):
        found.passages("foo")


def test_what_was_said_is_one_text(tiny: Model) -> None:
    with torch.no_grad():
        found = answer(tiny, "Hello", AnswerOptions(say=" 🦙é", verify=False, rivals="none"))
    assert found.text == " 🦙é"
    assert len(found.said) > 2


def test_where_it_was_close_the_rows_add_up(found: Answer) -> None:
    for said in found.decisive:
        assert said.tipped is not None
        given = sum(giver.term for giver in told.with_shared(found, said.tipped))
        assert given + said.tipped.constants == pytest.approx(said.lead, rel=1e-9, abs=1e-9)
