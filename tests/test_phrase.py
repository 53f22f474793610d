"""Targets of several tokens: the whole of them is the sum of its tokens, in every analysis that takes a target."""

from __future__ import annotations

import math

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.ablate import Ablation, ablate
from ggufjac.analyses.analyze import Analysis, analyze
from ggufjac.analyses.answer.phrase import phrase_of
from ggufjac.analyses.attribute import Attribution, attribute
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.layers import Layers, layers
from ggufjac.analyses.options import AblateOptions, AnalyzeOptions, AttributeOptions, LayersOptions
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of

PROMPT = "Hello there"
#: A text that is no token of the small model's vocabulary.
TEXT, OTHER = " abc def", " xyz"


@pytest.fixture(scope="module")
def spelled(tiny: Model) -> tuple[int, ...]:
    found = Subject(tiny, PROMPT, AttributeOptions()).spelled(TEXT)
    assert len(found) > 2
    return found


def ln_p(model: Model, ids: list[int], tokens: tuple[int, ...]) -> float:
    """Of the tokens behind a prompt, one prompt after the other."""
    total = 0.0
    for token in tokens:
        with torch.no_grad():
            total += float(model.linearize(ids, "float64").logits.log_softmax(-1)[token])
        ids = [*ids, token]
    return total


def test_its_probability_is_that_of_its_tokens_one_after_the_other(tiny: Model, spelled: tuple[int, ...]) -> None:
    ids = tiny.tokenize(PROMPT)
    with torch.no_grad():
        phrase = phrase_of(Subject(tiny, PROMPT, AttributeOptions(dtype="float64")), spelled)
    assert phrase.text == TEXT
    assert phrase.log_probability == pytest.approx(ln_p(tiny, ids, spelled), rel=1e-9)
    assert phrase.value == pytest.approx(
        phrase.log_probability + len(spelled) * math.log(tiny.family.n_vocab), rel=1e-9
    )
    total = sum(phrase.terms) + phrase.own + phrase.constants + phrase.missed
    assert total == pytest.approx(phrase.value, rel=1e-9)
    assert len(phrase.terms) == len(ids)


def test_attribute_holds_two_texts_against_each_other(tiny: Model, spelled: tuple[int, ...]) -> None:
    with torch.no_grad():
        found = attribute(tiny, PROMPT, AttributeOptions(dtype="float64", target=TEXT, against=OTHER))
    (phrase,), against = found.phrases, found.phrase_against
    assert against is not None
    assert (phrase.rules, against.rules) == ("half", "half")
    for each in (phrase, against):  # exact rules: nothing is missed
        assert sum(each.terms) + each.own + each.constants == pytest.approx(each.value, rel=1e-9, abs=1e-9)
    assert found.questions[0].target.token.id == spelled[0]
    again = Attribution.from_dict(found.to_dict())
    assert again.phrases == found.phrases
    assert f"The whole of {TEXT.replace(' ', '␣', 1)}" in printed(found, 120)


def test_rules_that_are_named_hold_for_texts_as_well(tiny: Model) -> None:
    with torch.no_grad():
        usual = attribute(tiny, PROMPT, AttributeOptions(target=TEXT))
        named = attribute(tiny, PROMPT, AttributeOptions(target=TEXT, rules="detached"))
    assert usual.phrases[0].rules == "lrp-qk"
    assert named.phrases[0].rules == "detached"


def test_one_token_is_no_text_of_several(tiny: Model) -> None:
    with torch.no_grad():
        found = attribute(tiny, IDS[:5], AttributeOptions(target=42, against="#7"))
    assert found.phrases == ()
    assert found.phrase_against is None
    with pytest.raises(UserError, match="explained against itself"):
        attribute(tiny, PROMPT, AttributeOptions(target=TEXT, against=TEXT))


def test_analyze_tells_of_the_whole(tiny: Model, spelled: tuple[int, ...]) -> None:
    with torch.no_grad():
        found = analyze(tiny, PROMPT, AnalyzeOptions(target=TEXT, tokens="combined", verify=False))
    assert found.phrase is not None
    assert [token.token.id for token in found.phrase.tokens] == list(spelled)
    assert found.target.token.id == spelled[0]
    assert Analysis.from_dict(found.to_dict()).phrase == found.phrase
    assert "The whole of" in printed(found, 100)


def test_layers_end_with_its_probability(tiny: Model, spelled: tuple[int, ...]) -> None:
    with torch.no_grad():
        found = layers(tiny, PROMPT, LayersOptions(dtype="float64", target=TEXT, top=2))
    assert len(found.phrase_lens) == tiny.family.n_layer
    assert found.phrase_lens[-1].log_probability == pytest.approx(ln_p(tiny, tiny.tokenize(PROMPT), spelled), rel=1e-9)
    first = found.lens_layers[0]
    assert found.phrase_lens[0].tokens[0] == pytest.approx(math.log(first.probability), rel=1e-9)
    assert Layers.from_dict(found.to_dict()).phrase_lens == found.phrase_lens
    assert "The whole of" in printed(found, 100)


def test_ablate_follows_the_whole(tiny: Model, spelled: tuple[int, ...]) -> None:
    ids = tiny.tokenize(PROMPT)
    with torch.no_grad():
        found = ablate(tiny, PROMPT, AblateOptions(dtype="float64", target=TEXT, components=2))
    before = ln_p(tiny, ids, spelled)
    text = [*ids, *spelled[:-1]]
    rows = range(len(ids) - 1, len(text))
    assert [change.position for change in found.phrase_changes] == list(range(len(ids)))
    for change in found.phrase_changes:
        x = tiny.embed(text, torch.float64)
        x[change.position] = 0
        with torch.no_grad():
            logits = propagate(tiny.family, run_of(text), x, rows=rows).logits.log_softmax(-1)
        now = sum(float(logits[i, token]) for i, token in enumerate(spelled))
        assert change.zeroed == pytest.approx(now - before, rel=1e-8, abs=1e-9)
        rest = [*ids[: change.position], *ids[change.position + 1 :]]
        assert change.left_out == pytest.approx(ln_p(tiny, rest, spelled) - before, rel=1e-8, abs=1e-9)
    assert Ablation.from_dict(found.to_dict()).phrase_changes == found.phrase_changes
    assert "The whole of" in printed(found, 100)
