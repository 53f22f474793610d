"""The tiny models: llama.cpp loads each, computes something alive, and reads every variant that was written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.llamacpp.vocab import Vocab
from ggufjac.reader import GGUFFile
from ggufjac.reader.types import GGMLType
from tinymodels import BOS, FAMILIES, VOCAB_SIZE, make

PROMPT = [BOS, *np.random.default_rng(7).integers(3, VOCAB_SIZE, 39).tolist()]

VARIANTS = [(family, variant) for family, known in FAMILIES.items() for variant in known.variants]


def logits(path: Path, ids: list[int], n_ctx: int = 256) -> np.ndarray:
    with Runner(path, n_ctx, kv="f32", threads=1) as runner:
        return runner.logits(ids, all_positions=True)


@pytest.mark.parametrize("length", [1, 7, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_lively_logits(family: str, length: int, tmp_path: Path) -> None:
    found = logits(make(family, tmp_path / "tiny.gguf"), PROMPT[:length])
    assert found.shape == (length, VOCAB_SIZE)
    assert np.isfinite(found).all()
    assert (found.std(axis=1) > 0.5).all()
    if length > 1:
        assert np.abs(np.diff(found, axis=0)).max(axis=1).min() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_stay_near_one_and_attention_is_neither_flat_nor_fixed(family: str, tmp_path: Path) -> None:
    path = make(family, tmp_path / "tiny.gguf")
    with Runner(path, 256, kv="f32", threads=1) as runner:
        seen = runner.capture(PROMPT, lambda name: name.startswith((f"{FAMILIES[family].state}-", "kq_soft_max-")))
    states = [array for name, array in seen.items() if re.fullmatch(rf"{FAMILIES[family].state}-\d+", name)]
    probabilities = [array for name, array in seen.items() if name.startswith("kq_soft_max-")]
    known = FAMILIES[family]
    assert len(states) == known.shape.n_layer
    assert len(probabilities) == (known.shape.n_layer if known.attends is None else known.attends)
    for state in states:
        assert 0.3 < np.sqrt(np.mean(state**2)) < 10
    for layer in probabilities:
        rows = layer[..., 8:40, :].reshape(-1, layer.shape[-1])  # of a single head without an axis of heads
        spread = [np.log(row[row > 1e-30]).std() for row in rows]  # that of the scores, up to a constant per row
        assert np.mean(spread) > 0.9  # where queries and keys are normalised without weights (llama4) it is 1
        assert rows.max(axis=1).mean() < 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_first_token_reaches_the_last_position(family: str, tmp_path: Path) -> None:
    path = make(family, tmp_path / "tiny.gguf")
    with Runner(path, 256, kv="f32", threads=1) as runner:
        before, after = runner.logits(PROMPT), runner.logits([PROMPT[1], *PROMPT[1:]])
    assert np.abs(before - after).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_every_weight(family: str, tmp_path: Path) -> None:
    first, again = (make(family, tmp_path / f"{name}.gguf").read_bytes() for name in ("first", "again"))
    assert first == again
    assert first != make(family, tmp_path / "other.gguf", seed=1).read_bytes()


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_variant_reaches_the_graph(family: str, variant: str, tmp_path: Path) -> None:
    """A variant must change llama.cpp's logits, or llama.cpp did not read what was written.

    Only a layer that guesses the tokens after the next one must not, since llama.cpp leaves it out.
    """
    overrides = FAMILIES[family].variants[variant]
    plain = logits(make(family, tmp_path / "plain.gguf"), PROMPT)
    varied = logits(make(family, tmp_path / "varied.gguf", **overrides), PROMPT)
    assert np.isfinite(varied).all()
    if overrides == {"ahead": True}:
        np.testing.assert_array_equal(plain, varied)
        return
    assert np.abs(plain - varied).max() > 0.5


def test_gemma3_local_layers_forget_what_left_the_window(tmp_path: Path) -> None:
    """Five local layers with a window of 3 see at most 11 tokens back; the sixth layer sees everything."""
    changed = [PROMPT[1], *PROMPT[1:]]

    def difference(n_layer: int) -> float:
        path = make("gemma3", tmp_path / f"{n_layer}.gguf", n_layer=n_layer, window=3)
        with Runner(path, 256, kv="f32", threads=1) as runner:
            return float(np.abs(runner.logits(PROMPT) - runner.logits(changed)).max())

    assert difference(5) == 0
    assert difference(6) > 1e-3


def test_phi3_takes_the_long_factors_when_the_context_exceeds_the_original_one(tmp_path: Path) -> None:
    path = make("phi3", tmp_path / "tiny.gguf")
    short, still_short, long = (logits(path, PROMPT, n_ctx) for n_ctx in (64, 256, 257))
    np.testing.assert_array_equal(short, still_short)
    assert np.abs(short - long).max() > 0.1


def test_phi3_window_is_ignored_by_llama_cpp(tmp_path: Path) -> None:
    narrow, wide = (logits(make("phi3", tmp_path / f"{n}.gguf", window=n), PROMPT) for n in (4, 4096))
    np.testing.assert_array_equal(narrow, wide)


@pytest.mark.parametrize("family", FAMILIES)
def test_k_quants_accept_every_matrix(family: str, tmp_path: Path) -> None:
    """Quantised purely to Q4_K: rows that are no multiple of 256 would fall back to another type or fail.

    llama.cpp leaves some matrices as they are, the small factors of low-rank products for instance.
    """
    source, target = make(family, tmp_path / "tiny.gguf"), tmp_path / "q4_k.gguf"
    quantize(source, target, "Q4_K_S", pure=True)
    exact, rounded = logits(source, PROMPT), logits(target, PROMPT)
    with GGUFFile.open(target) as file:
        packed = [info for info in file.tensors.values() if info.type is not GGMLType.F32]
        total = sum(info.n_weights for info in file.tensors.values())
    n_weights = sum(info.n_weights for info in packed)
    assert n_weights > 0.7 * total
    assert sum(info.nbytes for info in packed) < 0.16 * 4 * n_weights
    assert 0 < np.abs(exact - rounded).mean() < 0.5 * exact.std()


def test_vocabulary_merges_words_and_falls_back_to_bytes(tmp_path: Path) -> None:
    with Vocab.load(make("llama", tmp_path / "tiny.gguf")) as vocab:
        assert vocab.n_tokens == VOCAB_SIZE == 320
        pieces = [vocab.piece(token) for token in vocab.tokenize("the bridge é")]
        assert pieces == [b"<s>", b" the", b" bridge", b" ", b"\xc3", b"\xa9"]


def test_unknown_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="flavour"):
        make("llama", tmp_path / "tiny.gguf", flavour="sweet")
