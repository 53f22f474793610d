"""models.toml: what an entry says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from disks import FIELDS, HUB_ENTRY, REVISION, WHEEL_ENTRY, own, write
from ggufjac.errors import UserError
from ggufjac.registry import CatalogueEntry, HubFile, Places, Wheel, entries, resolve
from ggufjac.registry.catalogue import read


class TestCatalogue:
    def test_every_promised_model_has_an_entry(self, places: Places) -> None:
        architectures = {entry.name: entry.architecture for entry in entries(places)}
        assert architectures == {
            "smollm2-135m": "llama",
            "gemma3-270m": "gemma3",
            "qwen2.5-coder-0.5b": "qwen2",
            "qwen2.5-coder-1.5b": "qwen2",
            "llama3.2-3b": "llama",
            "llama3.1-8b": "llama",
            "llama3.3-70b": "llama",
            "gemma3-4b": "gemma3",
            "gemma3-12b": "gemma3",
            "gemma3-27b": "gemma3",
            "qwen3-8b": "qwen3",
            "qwen3-14b": "qwen3",
            "qwen3-32b": "qwen3",
            "deepseek-r1-qwen3-8b": "qwen3",
            "phi4": "phi3",
            "phi4-mini": "phi3",
            "ministral-8b": "llama",
            "olmo2-7b": "olmo2",
        }

    def test_checksums_go_with_a_pinned_revision(self, places: Places) -> None:
        """A checksum of a branch would refuse the file as soon as its owner uploads it anew."""
        for entry in entries(places):
            if isinstance(entry.source, HubFile):
                assert (entry.sha256 is None) == (entry.source.revision is None), entry.name
            else:
                assert entry.sha256 is not None, entry.name
                assert entry.size is not None, entry.name

    def test_an_entry_of_the_users_own_replaces_one_of_that_name(self, places: Places) -> None:
        own(places, HUB_ENTRY + HUB_ENTRY.replace("tiny", "qwen3-8b"))
        found = {entry.name: entry for entry in entries(places)}
        assert found["tiny"] == CatalogueEntry(
            name="tiny",
            architecture="llama",
            description="d",
            licence="MIT",
            prompt="p",
            file="Tiny-Q4_K_M.gguf",
            source=HubFile("org/Tiny-GGUF", "Tiny-Q4_K_M.gguf", REVISION),
            size=8,
        )
        assert found["qwen3-8b"].size == 8
        assert len(found) == 19

    def test_wheels_keep_their_order(self, places: Places) -> None:
        (entry,) = read(own(places, WHEEL_ENTRY))
        assert entry.source == (
            Wheel("tiny-part1", "1.0", "tiny/data.part0"),
            Wheel("tiny-part2", "1.0", "tiny/data.part1"),
        )
        assert (entry.file, entry.source_name) == ("tiny.gguf", "PyPI")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[tiny\nx = 1", "line 1"),
            ("tiny = 3", r"\[tiny\] must be a table"),
            (WHEEL_ENTRY.replace("size = 8", 'size = "8"'), r"\[tiny\]: size must be"),
            (WHEEL_ENTRY.replace("size = 8", "size = true"), r"\[tiny\]: size must be"),
            (WHEEL_ENTRY.replace("size = 8", "size = 0"), r"\[tiny\]: size must be"),
            (WHEEL_ENTRY.replace("size = 8", 'sha256 = "ABC"'), "sha256 must be 64"),
            (WHEEL_ENTRY.replace("size = 8", "sise = 8"), "unknown key sise; known are .*size"),
            (WHEEL_ENTRY.replace('prompt = "p"', ""), "prompt is missing"),
            (WHEEL_ENTRY.replace('"tiny.gguf"', '"../tiny.gguf"'), "file must be"),
            (WHEEL_ENTRY.replace('"tiny.gguf"', '"tiny.bin"'), "file must be"),
            (WHEEL_ENTRY.replace('"tiny-part2"', '"--index-url"'), r"\[tiny.pypi\]: package must be"),
            (WHEEL_ENTRY.replace('"tiny/data.part1"', '"/etc/passwd"'), "member must be"),
            (WHEEL_ENTRY.replace("package =", "pakage ="), "package is missing"),
            (HUB_ENTRY.replace('"org/Tiny-GGUF"', '"Tiny-GGUF"'), r"\[tiny.huggingface\]: repository must be"),
            (HUB_ENTRY.replace('"Tiny-Q4_K_M.gguf"', '"../Tiny.gguf"'), "file must be"),
            (HUB_ENTRY.replace("Q4_K_M.gguf", "Q4_K_M-00001-of-00002.gguf"), "one whole .gguf file"),
            (HUB_ENTRY.replace("[tiny.huggingface]", "[tiny.torrent]"), "needs one source"),
            (HUB_ENTRY.replace("[tiny.", "['ti ny'.").replace("[tiny]", "['ti ny']"), "a name has letters"),
            (f'[tiny]\n{FIELDS}\nfile = "t.gguf"\npypi = 3', "pypi must be one or more tables"),
            (f"[tiny]\n{FIELDS}\nhuggingface = 3", "must be a table"),
        ],
    )
    def test_a_malformed_file_is_named_with_the_place(self, places: Places, text: str, message: str) -> None:
        path = own(places, text)
        with pytest.raises(UserError, match=message) as caught:
            entries(places)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_no_text(self, places: Places) -> None:
        own(places, "").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UserError, match="not valid TOML"):
            entries(places)

    def test_a_path_needs_no_catalogue(self, places: Places, tmp_path: Path) -> None:
        own(places, "[[[")
        file = write(tmp_path / "model.gguf")
        assert resolve(str(file), places) == file
