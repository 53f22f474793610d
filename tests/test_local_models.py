"""The models that are on a disk already, whoever has put them there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import NO_CLOCK
from disks import HUB_ENTRY, hub, ollama, own, write
from ggufjac.errors import UserError
from ggufjac.registry import Places, local_models, resolve
from ggufjac.registry.stores.ollama import ADAPTER_LAYER, MODEL_LAYER, TENSOR_LAYER


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
