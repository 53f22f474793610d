"""Where other programs keep their models, by settings, environment and system."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ggufjac.registry import Places


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
