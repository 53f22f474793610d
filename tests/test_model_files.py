"""Which files are models, and the parts of split ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from disks import write
from ggufjac.registry.files import is_model, model_files, weight_type


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "model"),
        [
            ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", True),
            ("MODEL.GGUF", True),
            ("model-IQ4_XS-imatrix.gguf", True),
            ("imatrix.gguf", False),
            ("Model-imatrix.gguf", False),
            ("imatrix_unsloth.gguf", False),
            ("mmproj-model-f16.gguf", False),
            ("gemma-3-4b-it.mmproj-Q8_0.gguf", False),
            ("ggml-vocab-llama-bpe.gguf", False),
            ("gemma-jpn-extended-vocab-Q8_0.gguf", True),
            ("Llama-3.2-3B-vocab-expanded.Q4_K_M.gguf", True),
            ("model.safetensors", False),
            ("model.gguf.part", False),
        ],
    )
    def test_what_is_a_model(self, name: str, model: bool) -> None:
        assert is_model(name) is model

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
            ("mistral-7b.q4_0.gguf", "q4_0"),
            ("Qwen3.5-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
            ("big-IQ2_XXS-00001-of-00003.gguf", "IQ2_XXS"),
            ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
            ("m-BF16.gguf", "BF16"),
            ("model.gguf", None),
            ("Q4_K_M-of-mine.gguf", None),
        ],
    )
    def test_the_type_in_a_name(self, name: str, kind: str | None) -> None:
        assert weight_type(name) == kind

    def test_a_split_model_is_its_first_piece_with_the_size_of_all(self, tmp_path: Path) -> None:
        pieces = [write(tmp_path / f"big-0000{n}-of-00003.gguf", 10 * n) for n in (1, 2, 3)]
        (found,) = model_files(reversed(pieces))
        assert (found.path, found.size) == (pieces[0], 60)

    def test_a_split_model_with_a_piece_missing_is_left_out(self, tmp_path: Path) -> None:
        whole = write(tmp_path / "whole.gguf")
        pieces = [write(tmp_path / f"big-0000{n}-of-00003.gguf") for n in (1, 3)]
        assert [model.path for model in model_files([*pieces, whole])] == [whole]

    def test_a_dangling_link_is_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
        assert model_files(tmp_path.iterdir()) == []
