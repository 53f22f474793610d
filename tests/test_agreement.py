"""The verdict on two sets of logits."""

from __future__ import annotations

import numpy as np
import pytest

from ggufjac.analyses.common.agreement import compare


def logits(n: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n) * 3


def test_equal_logits_match() -> None:
    a = logits()
    found = compare(a, a, 1e-4, of="largest")
    assert (found.verdict, found.largest, found.noise, found.overlap) == ("MATCH", 0, 0, 10)
    assert found.kl == pytest.approx(0, abs=1e-15)
    assert found.ours == found.theirs == int(a.argmax())


def test_noise_within_the_limit_matches_and_beyond_it_does_not() -> None:
    a = logits()
    a[7] = 40.0
    noise = np.random.default_rng(1).standard_normal(a.size)
    assert compare(a, a + 0.01 * noise, 0.35).verdict == "MATCH"
    far = compare(a, a + 5.0 * noise, 0.35)
    assert far.verdict == "MISMATCH"
    assert far.ours == far.theirs == 7  # the same first token does not save it


def test_a_flipped_tie_within_the_noise_is_near_and_outside_is_not() -> None:
    a = logits()
    a[3], a[4] = 20.0, 19.9
    b = a + 0.05 * np.random.default_rng(2).standard_normal(a.size)
    b[3], b[4] = 19.9, 20.0
    near = compare(a, b, 0.35)
    assert (near.verdict, near.ours, near.theirs) == ("NEAR-TIE", 3, 4)
    assert near.margin == pytest.approx(0.1)
    a[4] = 12.0
    assert compare(a, b, 10.0).verdict == "MISMATCH"


def test_a_common_shift_is_no_noise_but_counts_as_a_difference() -> None:
    a = logits()
    assert compare(a, a + 100.0, 1e-6).noise == pytest.approx(0, abs=1e-10)
    assert compare(a, a + 100.0, 1e-6, of="largest").verdict == "MISMATCH"


def test_values_that_are_not_numbers_never_match() -> None:
    a = logits()
    b = a.copy()
    b[5] = np.nan
    assert compare(a, b, 1.0).verdict == "MISMATCH"


def test_kl_is_that_of_the_definition() -> None:
    a, b = logits(40, 1), logits(40, 2)
    p, q = np.exp(a) / np.exp(a).sum(), np.exp(b) / np.exp(b).sum()
    assert compare(a, b, 1.0).kl == pytest.approx(float((p * np.log(p / q)).sum()))


def test_logits_of_two_vocabularies_are_a_bug() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(logits(10), logits(11), 1.0)
