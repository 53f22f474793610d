"""The bridge to llama.cpp: its tokenizer, its logits, its intermediate tensors, its quantiser, and its errors."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter, TokenType
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufjac.errors import UserError
from ggufjac.llamacpp import library as bridge
from ggufjac.llamacpp.library import ErrorLog, Handle, library, supported_version
from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.llamacpp.vocab import TokenAttribute, Vocab
from ggufjac.registry import resolve
from tinymodels import BOS, EOS, UNK, VOCAB_SIZE, make

PROMPT = [BOS, *np.random.default_rng(3).integers(3, VOCAB_SIZE, 11).tolist()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("llama", tmp_path_factory.mktemp("tiny") / "llama.gguf")


@pytest.fixture(scope="module")
def vocab(tiny: Path) -> Iterator[Vocab]:
    with Vocab.load(tiny) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner(tiny, 256, kv="f32", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct Q4_1, from the environment or as `ggufjac pull` keeps it."""
    named = os.environ.get("GGUFJAC_SMOLLM2")
    if named:
        return Path(named)
    try:
        return resolve("smollm2-135m")
    except UserError as error:
        pytest.skip(f"needs SmolLM2: set GGUFJAC_SMOLLM2 to its path ({error})")


def write_vocab(path: Path, kind: str, tokens: dict[str, TokenType], **keys: Any) -> Path:
    """A GGUF file that is a vocabulary and nothing else; keys: those of `tokenizer.ggml`."""
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    if tokens:
        writer.add_token_list(list(tokens))
        writer.add_token_scores([-float(rank) for rank in range(len(tokens))])
        writer.add_token_types(list(tokens.values()))
    for key, value in keys.items():
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        add(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# ---------------------------------------------------------------- tokenizer


def test_tokenize_adds_what_the_file_asks_for(vocab: Vocab) -> None:
    assert (vocab.bos, vocab.eos, vocab.adds_bos, vocab.adds_eos) == (BOS, EOS, True, False)
    with_bos, without = vocab.tokenize("the bridge"), vocab.tokenize("the bridge", add_special=False)
    assert with_bos == [BOS, *without]
    assert [vocab.piece(token) for token in without] == [b" the", b" bridge"]


def test_tokenize_reads_special_tokens_only_when_told_to(vocab: Vocab) -> None:
    assert vocab.tokenize("</s>", add_special=False) == [EOS]
    assert EOS not in vocab.tokenize("</s>", parse_special=False)


def test_empty_text_is_what_the_file_adds(vocab: Vocab) -> None:
    assert vocab.tokenize("") == [BOS]
    assert vocab.tokenize("", add_special=False) == []
    assert vocab.detokenize([]) == ""


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_detokenize_inverts_tokenize(vocab: Vocab, text: str) -> None:
    # parse_special: "<s>" in a text must stay text here; SentencePiece spells a space "▁", so that character is lost
    ids = vocab.tokenize(text, parse_special=False)
    assert vocab.detokenize(ids) == text.replace("▁", " ")


def test_nul_and_bytes_that_are_not_utf8(vocab: Vocab) -> None:
    ids = vocab.tokenize("a\0b")
    assert [vocab.piece(token) for token in ids] == [b"<s>", b" a", b"\0", b"b"]
    assert vocab.detokenize(ids) == "a\0b"
    lone = vocab.tokenize("é", add_special=False)[-1]
    assert vocab.piece(lone) == b"\xa9"
    assert vocab.detokenize([lone]) == "\ufffd"


def test_a_long_text_is_tokenized_whole(vocab: Vocab) -> None:
    text = "the bridge " * 30_000
    ids = vocab.tokenize(text)
    assert len(ids) > 60_000
    assert vocab.detokenize(ids) == text


def test_lone_surrogate_is_the_users_mistake(vocab: Vocab) -> None:
    with pytest.raises(UserError, match=r"character 1 is the lone surrogate U\+D800"):
        vocab.tokenize("a\ud800")


def test_pieces_are_every_piece(vocab: Vocab) -> None:
    pieces = vocab.pieces()
    assert len(pieces) == vocab.n_tokens == VOCAB_SIZE
    assert pieces == [vocab.piece(token) for token in range(VOCAB_SIZE)]
    assert (pieces[UNK], pieces[BOS]) == (b"<unk>", b"<s>")
    assert pieces[3:259] == [bytes([value]) for value in range(256)]


def test_a_piece_longer_than_any_buffer(tmp_path: Path) -> None:
    long = "x" * 5000
    tokens = {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL}
    tokens |= {long: TokenType.NORMAL, "y": TokenType.NORMAL}
    with Vocab.load(write_vocab(tmp_path / "long.gguf", "llama", tokens)) as vocab:
        assert vocab.pieces() == [b"<unk>", b"<s>", b"</s>", long.encode(), b"y"]
        assert vocab.detokenize([BOS, 3, 4]) == long + "y"


def test_attributes_tell_special_tokens_apart(vocab: Vocab) -> None:
    assert [vocab.is_special(token) for token in (UNK, BOS, EOS, 3, VOCAB_SIZE - 1)] == [True, True, True, False, False]
    assert vocab.attributes(BOS) == TokenAttribute.CONTROL
    assert vocab.attributes(3) == TokenAttribute.BYTE
    assert vocab.attributes(VOCAB_SIZE - 1) == TokenAttribute.NORMAL


@pytest.mark.parametrize("token", [-1, VOCAB_SIZE, 2**31])
def test_ids_outside_the_vocabulary_never_reach_llama_cpp(vocab: Vocab, token: int) -> None:
    for use in (vocab.piece, vocab.attributes, vocab.is_special, lambda bad: vocab.detokenize([bad])):
        with pytest.raises(UserError, match=f"token id {token} is outside the vocabulary .*from 0 to 319"):
            use(token)


def test_numpy_ids_are_taken_and_fractions_are_not(vocab: Vocab, runner: Runner) -> None:
    ids = np.array(vocab.tokenize("the bridge"))
    assert vocab.detokenize(ids) == "the bridge"
    assert vocab.piece(ids[-1]) == b" bridge"
    np.testing.assert_array_equal(runner.logits(ids), runner.logits(ids.tolist()))
    with pytest.raises(TypeError):
        runner.logits([1.5])  # type: ignore[list-item]


def test_a_closed_vocabulary_says_so(tiny: Path) -> None:
    vocab = Vocab.load(tiny)
    vocab.close()
    vocab.close()
    for use in (vocab.pieces, lambda: vocab.tokenize("a"), lambda: vocab.detokenize([1]), lambda: vocab.piece(1)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_a_file_without_tokenizer(tmp_path: Path) -> None:
    path = write_vocab(tmp_path / "none.gguf", "none", {})
    with pytest.raises(UserError, match=r"none\.gguf: the file has no tokenizer"):
        Vocab.load(path)


def test_characters_without_token_are_named_instead_of_ending_the_process(tmp_path: Path) -> None:
    tokens = {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL}
    tokens |= {"▁": TokenType.NORMAL, "a": TokenType.NORMAL, "<0xC3>": TokenType.BYTE, "<0xA9>": TokenType.BYTE}
    with Vocab.load(write_vocab(tmp_path / "few.gguf", "llama", tokens)) as vocab:
        assert vocab.tokenize("a é", add_special=False) == [3, 4, 3, 5, 6]
        with pytest.raises(UserError, match=r"no token for 'b' nor for its bytes"):
            vocab.tokenize("a b")


def test_a_bos_that_is_asked_for_but_missing(tmp_path: Path) -> None:
    tokens = {"a": TokenType.NORMAL, "b": TokenType.NORMAL, "<unk>": TokenType.UNKNOWN, "▁": TokenType.NORMAL}
    path = write_vocab(tmp_path / "nobos.gguf", "t5", tokens, add_bos_token=True, unknown_token_id=2)
    with Vocab.load(path) as vocab:
        assert (vocab.bos, vocab.adds_bos) == (None, True)
        with pytest.raises(UserError, match=r"add_bos_token but names no tokenizer\.ggml\.bos_token_id"):
            vocab.tokenize("a")
        assert vocab.tokenize("ab", add_special=False)


# ---------------------------------------------------------------- logits


def test_logits_of_the_last_position_are_the_last_row(runner: Runner) -> None:
    every, last = runner.logits(PROMPT, all_positions=True), runner.logits(PROMPT)
    assert every.shape == (len(PROMPT), VOCAB_SIZE)
    assert last.shape == (VOCAB_SIZE,)
    assert every.dtype == last.dtype == np.float32
    np.testing.assert_allclose(every[-1], last, atol=1e-5)


def test_every_call_starts_afresh(runner: Runner) -> None:
    before = runner.logits(PROMPT)
    runner.logits(PROMPT[::-1])
    runner.logits((PROMPT * 20)[:200])  # needs a larger context than any prompt before
    np.testing.assert_array_equal(runner.logits(PROMPT), before)


def test_a_prompt_as_long_as_the_context(tiny: Path) -> None:
    ids = (PROMPT * 30)[:300]
    with Runner(tiny, 300, kv="f32", threads=1) as runner:
        every = runner.logits(ids, all_positions=True)
        assert np.isfinite(every).all()
        # position t sees only what came before it
        np.testing.assert_allclose(every[99], runner.logits(ids[:100]), atol=1e-4)
        with pytest.raises(UserError, match="the prompt has 301 tokens but the context holds 300"):
            runner.logits([*ids, 3])


def test_a_long_prompt_is_one_graph(runner: Runner) -> None:
    seen = runner.capture_all((PROMPT * 20)[:240], ["l_out-0"])["l_out-0"]
    assert [array.shape for array in seen] == [(240, 256)]


@pytest.mark.parametrize(("kv", "flash"), [("f16", False), ("f16", True), ("f32", True)])
def test_half_precision_keys_and_values_change_little(tiny: Path, runner: Runner, kv: Any, flash: bool) -> None:
    """llama.cpp's flash attention rounds keys and values to float16 even when its cache holds float32."""
    exact = runner.logits(PROMPT)
    with Runner(tiny, 256, kv=kv, flash_attention=flash, threads=1) as other:
        difference = np.abs(other.logits(PROMPT) - exact).max()
    assert 1e-4 < difference < 0.01 * exact.std()


def test_threads_change_nothing(tiny: Path, runner: Runner) -> None:
    with Runner(tiny, 256, kv="f32", threads=2) as other:
        np.testing.assert_array_equal(other.logits(PROMPT), runner.logits(PROMPT))


def test_flash_attention_is_really_on_or_off(tiny: Path, runner: Runner) -> None:
    def has_softmax(loaded: Runner) -> bool:
        return "kq_soft_max-0" in loaded.capture(PROMPT, ["kq_soft_max-0"])

    with Runner(tiny, 256, flash_attention=True, threads=1) as flash:
        assert (has_softmax(runner), has_softmax(flash)) == (True, False)


def test_bad_prompts(runner: Runner) -> None:
    with pytest.raises(UserError, match="no tokens"):
        runner.logits([])
    for token in (-1, VOCAB_SIZE, 2**40):
        with pytest.raises(UserError, match=f"token id {token} is outside the vocabulary"):
            runner.logits([BOS, token])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_ctx": 0}, "a context of 0 tokens"),
        ({"n_ctx": 256, "kv": "q8_0"}, "cache type 'q8_0': choose one of f16, f32"),
        ({"n_ctx": 256, "threads": 0}, "0 threads"),
    ],
)
def test_bad_options(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Runner(tiny, **options)


def test_a_closed_runner_says_so(tiny: Path) -> None:
    runner = Runner(tiny, 256, threads=1)
    runner.logits(PROMPT)
    runner.close()
    runner.close()
    with pytest.raises(ValueError, match="closed"):
        runner.logits(PROMPT)


def test_forgotten_runners_free_context_before_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api, freed = library().api, []
    for name in ("llama_free", "llama_model_free"):
        free = getattr(api, name)
        monkeypatch.setattr(api, name, lambda pointer, name=name, free=free: (freed.append(name), free(pointer)))
    runner = Runner(tiny, 256, threads=1)
    runner.logits(PROMPT)
    del runner
    gc.collect()
    assert freed == ["llama_free", "llama_model_free"]


def test_a_handle_frees_once() -> None:
    freed: list[int] = []
    handle = Handle(7, freed.append)
    assert handle.pointer == 7
    handle.close()
    handle.close()
    del handle
    gc.collect()
    assert freed == [7]


# ---------------------------------------------------------------- captures


def test_captured_output_is_the_logits(runner: Runner) -> None:
    seen = runner.capture(PROMPT, ["result_output", "result_norm", "l_out-1", "no such tensor"])
    assert {name: array.shape for name, array in seen.items()} == {
        "l_out-1": (12, 256),
        "result_norm": (12, 256),
        "result_output": (12, VOCAB_SIZE),
    }
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in seen.values())
    np.testing.assert_array_equal(seen["result_output"], runner.logits(PROMPT, all_positions=True))


def test_capture_equals_our_own_arithmetic(tiny: Path, runner: Runner) -> None:
    """Embeddings, first norm, value projection and final norm, from the file's own weights."""
    weights = {tensor.name: np.array(tensor.data) for tensor in GGUFReader(tiny).tensors}
    seen = runner.capture(PROMPT, ["embd", "attn_norm-0", "Vcur-0", "l_out-1", "result_norm"])

    def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5) * weight

    np.testing.assert_array_equal(seen["embd"], weights["token_embd.weight"][PROMPT])
    np.testing.assert_allclose(seen["attn_norm-0"], normed(seen["embd"], weights["blk.0.attn_norm.weight"]), rtol=1e-5)
    values = seen["attn_norm-0"] @ weights["blk.0.attn_v.weight"].T
    assert seen["Vcur-0"].shape == (12, 2, 64)
    np.testing.assert_allclose(seen["Vcur-0"].reshape(12, -1), values, atol=1e-4)
    np.testing.assert_allclose(seen["result_norm"], normed(seen["l_out-1"], weights["output_norm.weight"]), rtol=1e-5)


def test_a_tensor_without_a_name_is_called_by_the_weight_that_it_comes_from(tmp_path: Path) -> None:
    path = make("gemma4", tmp_path / "tiny.gguf", n_layer=2, n_input=64)
    weights = {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}
    with Runner(path, 256, kv="f32", threads=1) as unnamed:
        seen = unnamed.capture(PROMPT, ["pe_in-1", "inp_gate.mul_mat-1", "inp_gate.gelu-1"])
    gate = seen["pe_in-1"] @ weights["blk.1.inp_gate.weight"].T
    np.testing.assert_allclose(seen["inp_gate.mul_mat-1"], gate, atol=1e-4)
    gelu = gate / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    np.testing.assert_allclose(seen["inp_gate.gelu-1"], gelu, atol=5e-3)


def test_top_layer_has_only_the_rows_that_are_asked_for(runner: Runner) -> None:
    names = ["l_out-0", "l_out-1", "result_norm"]
    every, last = runner.capture(PROMPT, names), runner.capture(PROMPT, names, all_positions=False)
    assert {name: array.shape for name, array in last.items()} == {
        "l_out-0": (12, 256),
        "l_out-1": (1, 256),
        "result_norm": (1, 256),
    }
    np.testing.assert_allclose(last["result_norm"][0], every["result_norm"][-1], atol=1e-5)


def test_one_token_still_gives_two_axes(runner: Runner) -> None:
    assert runner.capture([BOS], ["l_out-0"])["l_out-0"].shape == (1, 256)


def test_a_repeated_name_gives_every_write_or_the_last(runner: Runner) -> None:
    every = runner.capture_all(PROMPT, ["Qcur-0"])["Qcur-0"]
    assert len(every) > 1
    projected, rotated = every[0].reshape(12, 4, 64), every[-1]
    # RoPE leaves position 0 alone and keeps the length of every head
    np.testing.assert_array_equal(projected[0], rotated[0])
    assert not np.allclose(projected[1:], rotated[1:])
    np.testing.assert_allclose(np.linalg.norm(projected, axis=2), np.linalg.norm(rotated, axis=2), rtol=1e-5)
    np.testing.assert_array_equal(runner.capture(PROMPT, ["Qcur-0"])["Qcur-0"], rotated)


def test_strided_tensors_are_read_in_their_own_order(runner: Runner) -> None:
    seen = runner.capture(PROMPT, lambda name: name.startswith("Qcur-0"))
    permuted = [array for name, array in seen.items() if name.endswith("(permuted)")]
    assert len(permuted) == 1
    np.testing.assert_array_equal(permuted[0], seen["Qcur-0"].transpose(1, 0, 2))


def test_half_precision_tensors_become_float32(tiny: Path) -> None:
    with Runner(tiny, 256, kv="f16", threads=1) as half:
        seen = half.capture(PROMPT, ["Kcur-0", "cache_k_l0 (view)"])
    cache = seen["cache_k_l0 (view)"]
    assert cache.dtype == np.float32
    np.testing.assert_array_equal(cache[: len(PROMPT)], seen["Kcur-0"].astype(np.float16))


def test_integer_tensors_become_float32(tmp_path: Path) -> None:
    """The experts that the router of a mixture chose: the first two columns of a wider table, hence strided too."""
    with Runner(make("llama", tmp_path / "moe.gguf", experts=4), 256, kv="f32", threads=1) as mixture:
        seen = mixture.capture(PROMPT, ["ffn_moe_logits-0", "ffn_moe_topk-0"])
    best = np.argsort(-seen["ffn_moe_logits-0"], axis=1)[:, :2]
    np.testing.assert_array_equal(seen["ffn_moe_topk-0"], best)


def test_capturing_changes_nothing(runner: Runner) -> None:
    before = runner.logits(PROMPT)
    everything = runner.capture_all(PROMPT, lambda name: True)
    assert len(everything) > 40
    np.testing.assert_array_equal(runner.logits(PROMPT), before)
    np.testing.assert_allclose(everything["result_output"][0][-1], before, atol=1e-5)


def test_an_exception_in_the_name_test_comes_out(runner: Runner) -> None:
    def refuse(name: str) -> bool:
        raise LookupError(name)

    before = runner.logits(PROMPT)
    with pytest.raises(LookupError, match="embd"):
        runner.capture(PROMPT, refuse)
    np.testing.assert_array_equal(runner.logits(PROMPT), before)


def test_capture_after_a_bad_prompt_starts_clean(runner: Runner) -> None:
    with pytest.raises(UserError, match="no tokens"):
        runner.capture([], ["l_out-0"])
    assert list(runner.capture(PROMPT, ["l_out-0"])) == ["l_out-0"]


# ---------------------------------------------------------------- errors of llama.cpp


def test_bad_files_give_llama_cpps_reason_in_one_line(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "text.gguf").write_bytes(b"not a model" * 10)
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "cut.gguf").write_bytes(tiny.read_bytes()[:-1000])
    reasons = {
        "text.gguf": "invalid magic",
        "empty.gguf": "failed to read magic",
        "cut.gguf": "not within the file bounds",
        "missing.gguf": "no such file",
        ".": "no such file",
    }
    for name, reason in reasons.items():
        for load in (Vocab.load, lambda path: Runner(path, 256)):
            with pytest.raises(UserError, match=reason) as caught:
                load(tmp_path / name)
            assert str(caught.value).startswith(f"{tmp_path / name}: ")
            assert "\n" not in str(caught.value)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    path = write_vocab(tmp_path / "hollow.gguf", "none", {})
    with pytest.raises(UserError, match=r"hollow\.gguf: llama\.cpp cannot load this file: .*llama\.context_length"):
        Runner(path, 256)


def test_llama_cpp_is_silent(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Runner(tiny, 256, threads=1) as runner:
        runner.logits(PROMPT)
    Vocab.load(tiny).close()
    (tmp_path / "bad.gguf").write_bytes(b"bad!")
    with pytest.raises(UserError):
        Vocab.load(tmp_path / "bad.gguf")
    quantize(tiny, tmp_path / "q8.gguf", "Q8_0")
    assert capfd.readouterr() == ("", "")


def test_error_lines_are_joined_and_cleaned() -> None:
    log = ErrorLog()
    assert log.reason() == "llama.cpp gave no reason"
    log.write(2, b"some information\n")
    log.write(5, b" and more of it\n")
    log.write(4, b"loader: tensor 'x' is ")
    log.write(5, b"broken\n")
    log.write(4, b"load: error loading model: llama_model_loader: failed to load model from x.gguf\n")
    log.write(4, b"load: failed to load model\n")
    assert log.reason() == "tensor 'x' is broken"
    log.clear()
    assert log.reason() == "llama.cpp gave no reason"


def test_error_lines_belong_to_their_thread() -> None:
    log, seen = ErrorLog(), []

    def other() -> None:
        log.write(4, b"other: theirs\n")
        seen.append(log.reason())

    log.write(4, b"here: mine\n")
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert (seen, log.reason()) == (["theirs"], "mine")


def test_an_unknown_tensor_layout_is_refused() -> None:
    class Shifted:
        """ggml, but with tensors whose strides are not where they are expected."""

        def __getattr__(self, name: str) -> Any:
            real = getattr(library().ggml, name)
            return (lambda _context, tensor, *_axes: tensor) if name == "ggml_permute" else real

    bridge._check_tensor_layout(library().ggml)
    with pytest.raises(UserError, match="lays out ggml_tensor in a way that ggufjac does not know"):
        bridge._check_tensor_layout(Shifted())  # type: ignore[arg-type]


def test_version_names_llama_cpp_and_its_package() -> None:
    assert library() is library()
    words = supported_version()
    assert words.startswith("llama.cpp ")
    assert "ggml " in words
    assert "llama-cpp-python 0." in words


def test_importing_the_bridge_does_not_load_llama_cpp() -> None:
    code = (
        "import sys, ggufjac.llamacpp.vocab, ggufjac.llamacpp.run, ggufjac.llamacpp.quantize; "
        "sys.exit('llama_cpp' in sys.modules or 'torch' in sys.modules)"
    )
    root = Path(bridge.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# ---------------------------------------------------------------- quantiser


@pytest.mark.parametrize(("ftype", "stored"), [("Q8_0", 8), ("q4_k_s", 12), (25, 20), ("F16", 1), ("BF16", 30)])
def test_quantize_purely(tiny: Path, runner: Runner, tmp_path: Path, ftype: int | str, stored: int) -> None:
    target = tmp_path / "small.gguf"
    quantize(tiny, target, ftype, pure=True)
    assert list(tmp_path.iterdir()) == [target]
    types = {int(tensor.tensor_type) for tensor in GGUFReader(target).tensors if len(tensor.shape) == 2}
    assert types == {stored}
    with Runner(target, 256, kv="f32", threads=1) as small:
        difference = np.abs(small.logits(PROMPT) - runner.logits(PROMPT)).mean()
    assert 0 < difference < 1


def test_quantize_mixes_types_unless_pure(tiny: Path, tmp_path: Path) -> None:
    quantize(tiny, tmp_path / "mixed.gguf", "Q4_K_M")
    types = {int(tensor.tensor_type) for tensor in GGUFReader(tmp_path / "mixed.gguf").tensors}
    assert types == {0, 12, 14}


def test_quantize_refuses_and_leaves_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    for ftype in ("Q9_Z", 4711):
        with pytest.raises(UserError, match=r"has no file type .*choose one of F32, F16, Q4_0"):
            quantize(tiny, target, ftype)
    with pytest.raises(UserError, match="no such file"):
        quantize(tmp_path / "missing.gguf", target, "Q8_0")
    with pytest.raises(UserError, match=r"llama\.cpp cannot quantise this file to IQ2_XXS: .*importance matrix"):
        quantize(tiny, target, "IQ2_XXS")
    with pytest.raises(UserError, match=r"llama\.cpp cannot quantise this file to Q8_0"):
        quantize(tiny, tmp_path / "no such folder" / "target.gguf", "Q8_0")
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    with pytest.raises(UserError, match=r"target\.gguf: cannot be written: "):
        quantize(tiny, target, "Q8_0")
    assert list(tmp_path.iterdir()) == [target]


# ---------------------------------------------------------------- a real model


def test_smollm2_tokens(smollm2: Path) -> None:
    with Vocab.load(smollm2) as vocab:
        ids = vocab.tokenize("The bridge out of Marin is the")
        assert ids == [504, 7395, 578, 282, 43749, 314, 260]
        assert (vocab.n_tokens, vocab.adds_bos) == (49152, False)
        assert vocab.detokenize(ids) == "The bridge out of Marin is the"
        assert vocab.tokenize("<|im_start|>user") == [1, 4093]
        assert vocab.is_special(1)


def test_smollm2_prediction(smollm2: Path) -> None:
    with Vocab.load(smollm2) as vocab, Runner(smollm2, 256) as runner:
        logits = runner.logits(vocab.tokenize("The bridge out of Marin is the"))
        first, second = np.argsort(-logits)[:2].tolist()
        assert (vocab.piece(first), vocab.piece(second)) == (b" most", b" only")
        assert logits[first] == pytest.approx(8.85, abs=0.01)
        assert logits[second] == pytest.approx(8.84, abs=0.01)
