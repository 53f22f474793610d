"""What a name means: a path, an entry, or a model on this disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ggufjac
from conftest import NO_CLOCK
from disks import HUB_ENTRY, WHEEL_ENTRY, hub, ollama, own, write
from ggufjac.errors import UserError
from ggufjac.registry import Places, local_models, resolve, stored
from ggufjac.registry.catalogue import read


class TestResolve:
    def test_a_path(self, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write(tmp_path / "smollm2-135m")
        monkeypatch.chdir(tmp_path)
        assert resolve("smollm2-135m", places) == Path("smollm2-135m")
        assert resolve(str(file), places) == file

    def test_a_name_that_was_not_pulled(self, places: Places) -> None:
        with pytest.raises(UserError, match="run `ggufjac pull smollm2-135m`"):
            resolve("smollm2-135m", places)
        with pytest.raises(UserError, match="run `ggufjac pull smollm2-135m`"):
            resolve("SmolLM2-135M", places)

    def test_a_name_that_was_pulled(self, places: Places) -> None:
        own(places, WHEEL_ENTRY)
        file = write(places.models / "tiny.gguf", 8)
        assert resolve("tiny", places) == file
        assert resolve("TINY", places) == file
        assert [model.name for model in local_models(places)] == ["tiny"]
        assert resolve("tiny.gguf", places) == file

    def test_a_file_of_the_wrong_size_was_not_pulled(self, places: Places) -> None:
        own(places, WHEEL_ENTRY)
        write(places.models / "tiny.gguf", 7)
        with pytest.raises(UserError, match="ggufjac pull tiny"):
            resolve("tiny", places)

    def test_a_hugging_face_entry_is_used_from_the_cache(self, places: Places) -> None:
        own(places, HUB_ENTRY)
        other = hub(places.hub, "org/Tiny-GGUF", "Tiny-Q4_K_M.gguf", "f" * 40)
        assert resolve("tiny", places) == other
        pinned = hub(places.hub, "org/Tiny-GGUF", "Tiny-Q4_K_M.gguf")
        os.utime(pinned.parent, (1, 1))
        assert resolve("tiny", places) == pinned

    def test_a_hugging_face_entry_may_be_fetched_by_hand(self, places: Places) -> None:
        own(places, HUB_ENTRY)
        file = write(places.models / "Tiny-Q4_K_M.gguf")
        assert resolve("tiny", places) == file

    def test_an_entry_is_never_another_programs_model(self, places: Places) -> None:
        own(places, WHEEL_ENTRY)
        ollama(places.ollama[0], "registry.ollama.ai/library/tiny/latest")
        with pytest.raises(UserError, match=r"run `ggufjac pull tiny`, or say tiny:latest for the one of Ollama"):
            resolve("tiny", places)

    def test_exact_comes_before_another_case(self, places: Places) -> None:
        lower = write(places.lmstudio[0] / "p/r/model.gguf")
        upper = write(places.lmstudio[0] / "p/R/MODEL.gguf")
        assert resolve("p/r/model.gguf", places) == lower
        assert resolve("p/R/MODEL.gguf", places) == upper
        with pytest.raises(UserError, match=r"means 2 models: p/R/MODEL.gguf \(LM Studio\), p/r/model.gguf"):
            resolve("P/R/Model.gguf", places)

    def test_an_ambiguous_name_lists_the_candidates(self, places: Places) -> None:
        write(places.lmstudio[0] / "one/A-GGUF/same.gguf")
        write(places.lmstudio[0] / "two/A-GGUF/same.gguf")
        with pytest.raises(UserError, match=r"one/A-GGUF/same\.gguf.*two/A-GGUF/same\.gguf.*give one of these"):
            resolve("same", places)

    def test_one_name_in_two_programs_lists_the_paths(self, places: Places) -> None:
        paths = [write(places.lmstudio[0] / "org/M-GGUF/m.gguf"), hub(places.hub, "org/M-GGUF", "m.gguf")]
        with pytest.raises(UserError) as caught:
            resolve("org/M-GGUF/m.gguf", places)
        assert all(str(path) in str(caught.value) for path in paths)

    def test_one_file_under_two_names_is_no_ambiguity(self, places: Places) -> None:
        file = write(places.lmstudio[0] / "org/M-GGUF/m.gguf")
        link = places.models / "m.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(file)
        assert resolve("M.gguf", places).resolve() == file.resolve()

    def test_an_unknown_name_says_where_was_searched(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UserError, match=r"none of the folders of Ollama, .*GGUFJAC_MODELS names more"):
            resolve("xyzzy", places)
        write(places.lmstudio[0] / "a.gguf")
        listed = os.listdir

        def forbidding(folder: Path) -> list[str]:
            if folder == places.ollama[1]:
                raise PermissionError
            return listed(folder)

        monkeypatch.setattr(os, "listdir", forbidding)
        with pytest.raises(UserError) as caught:
            resolve("xyzzy", places)
        assert f"searched: {places.lmstudio[0]} (LM Studio); " in str(caught.value)
        assert f"not allowed to read: {places.ollama[1]} (Ollama)" in str(caught.value)

    def test_a_link_to_nothing(self, places: Places, tmp_path: Path) -> None:
        link = tmp_path / "m.gguf"
        link.symlink_to(tmp_path / "disk/m.gguf")
        with pytest.raises(UserError, match=r"m\.gguf is a link to .*disk/m\.gguf, which is not there"):
            resolve(str(link), places)

    def test_a_path_that_may_not_be_reached(
        self, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = os.stat

        def forbidden(path: Path, **options: bool) -> os.stat_result:
            if Path(path).name == "m.gguf":
                raise PermissionError(13, "Permission denied")
            return look(path, **options)

        monkeypatch.setattr(os, "stat", forbidden)
        with pytest.raises(UserError, match=r"m\.gguf cannot be reached: your user may not look into its folder"):
            resolve(str(tmp_path / "m.gguf"), places)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_what_is_no_regular_file_is_left_to_the_reader(self, places: Places, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert resolve(str(tmp_path / "pipe"), places) == tmp_path / "pipe"

    def test_what_comes_along_when_a_path_is_copied(self, places: Places, tmp_path: Path) -> None:
        path = write(tmp_path / "m.gguf")
        with pytest.raises(UserError, match=r"cannot be seen \(U\+202A\).*: type it anew$") as caught:
            resolve(f"\u202a{path}", places)
        assert str(caught.value).isprintable()
        with pytest.raises(UserError, match="without the quotation marks"):
            resolve(f'"{path}"', places)
        with pytest.raises(UserError, match="without file://"):
            resolve(path.as_uri(), places)

    def test_a_folder_of_safetensors(self, places: Places, tmp_path: Path) -> None:
        write(tmp_path / "model.safetensors")
        with pytest.raises(UserError, match=r"is a folder; it holds a model in safetensors.*convert_hf_to_gguf\.py"):
            resolve(str(tmp_path), places)

    def test_a_folder_that_may_not_be_read(
        self, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forbidding(folder: Path) -> list[str]:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "listdir", forbidding)
        with pytest.raises(UserError, match=r"is a folder; .*cannot be read \(Permission denied\)"):
            resolve(str(tmp_path), places)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("smolm2-135m", r"did you mean smollm2-135m"),
            ("qwen3", r"did you mean qwen3-8b or qwen3-14b or qwen3-32b"),
            ("models/qwen3-8b.gguf", r"there is no file models/qwen3-8b.gguf .did you mean qwen3-8b"),
            ("xyzzy", r"no model 'xyzzy'; a path to a GGUF file works, or a name that `ggufjac models` lists"),
            ("~nobody-of-that-name/x", "there is no file"),
            ("", "name is empty"),
        ],
    )
    def test_an_unknown_name_says_what_would_work(self, places: Places, name: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            resolve(name, places)

    def test_a_folder(self, places: Places, tmp_path: Path) -> None:
        write(tmp_path / "folder/a.gguf")
        write(tmp_path / "folder/mmproj-a.gguf")
        with pytest.raises(UserError, match=r"is a folder; give a GGUF file in it: a.gguf$"):
            resolve(str(tmp_path / "folder"), places)
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="it holds none"):
            resolve(str(tmp_path / "empty"), places)

    @settings(max_examples=100, suppress_health_check=[*NO_CLOCK, HealthCheck.function_scoped_fixture])
    @given(st.text(max_size=300))
    def test_no_text_is_worse_than_unknown(self, places: Places, name: str) -> None:
        with pytest.raises(UserError):
            resolve(f"{name}\N{SNOWMAN}", places)

    def test_stored_prefers_nothing_over_a_truncated_file(self, places: Places) -> None:
        own(places, HUB_ENTRY)
        hub(places.hub, "org/Tiny-GGUF", "Tiny-Q4_K_M.gguf", size=3)
        (entry,) = read(places.home / "models.toml")
        assert stored(entry, places) is None


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, ggufjac.registry, ggufjac.cli.models;"
        "print(sorted({'torch', 'llama_cpp', 'gguf', 'numpy', 'rich', 'huggingface_hub'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ggufjac.__file__).parents[1])}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
