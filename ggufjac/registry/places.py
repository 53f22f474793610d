"""Where models lie on this machine: ggufjac's own folder and those of the programs that download models."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ggufjac.registry.settings import jan_data, lmstudio_downloads, ollama_service


@dataclass(frozen=True)
class Places:
    """The folders that are searched; none of them has to exist."""

    home: Path
    """ggufjac's data folder: pulled files in `models`, entries of the user's own in `models.toml`."""
    ollama: tuple[Path, ...]
    """Ollama's model folders (each with `manifests` and `blobs`), the one that counts first."""
    lmstudio: tuple[Path, ...]
    """LM Studio's model folders: publisher/repository/file.gguf, or files at any other depth."""
    hub: Path
    """Hugging Face's cache: models--org--name/snapshots/<revision>/..."""
    llamacpp: tuple[Path, ...] = ()
    """llama.cpp's download folders: org_name_file.gguf, and Hugging Face's layout since 2026."""
    jan: tuple[Path, ...] = ()
    """Jan's model folders: <id>/model.gguf."""
    gpt4all: tuple[Path, ...] = ()
    """GPT4All's model folders."""
    others: tuple[Path, ...] = ()
    """The user's own folders, which GGUFJAC_MODELS names."""

    @property
    def models(self) -> Path:
        """The folder of pulled files."""
        return self.home / "models"

    def searched(self) -> Iterator[tuple[str, Path]]:
        """Every folder that is searched, with whose it is."""
        yield "ggufjac", self.models
        yield "Hugging Face", self.hub
        for program, folders in (
            ("Ollama", self.ollama),
            ("LM Studio", self.lmstudio),
            ("llama.cpp", self.llamacpp),
            ("Jan", self.jan),
            ("GPT4All", self.gpt4all),
            ("GGUFJAC_MODELS", self.others),
        ):
            for folder in folders:
                yield program, folder

    @classmethod
    def here(cls) -> Places:
        """The folders of this process: its environment, its user, its platform."""
        return cls.of(os.environ, Path.home(), sys.platform)

    @classmethod
    def of(cls, environment: Mapping[str, str], user: Path, platform: str, root: Path = Path("/")) -> Places:
        """The folders that the environment variables, the user's home, `sys.platform` and the settings of the
        programs imply; `root` is where the system's own files are."""

        def variable(name: str, otherwise: Path) -> Path:
            # A variable that is set to nothing counts as unset, as the XDG specification has it.
            value = environment.get(name)
            return _absolute(value, user) if value else otherwise

        def given(name: str) -> tuple[Path, ...]:
            values = environment.get(name, "").split(os.pathsep)
            return tuple(_absolute(value, user) for value in values if value)

        # Data of an application, its settings, and what it may lose.
        if platform == "win32":
            data = variable("LOCALAPPDATA", user / "AppData" / "Local")
            settings = variable("APPDATA", user / "AppData" / "Roaming")
            caches = data
        elif platform == "darwin":
            data = settings = user / "Library" / "Application Support"
            caches = user / "Library" / "Caches"
        else:
            data = variable("XDG_DATA_HOME", user / ".local" / "share")
            settings = variable("XDG_CONFIG_HOME", user / ".config")
            caches = variable("XDG_CACHE_HOME", user / ".cache")

        # Unlike llama.cpp, huggingface_hub keeps its cache in ~/.cache on every platform.
        hub_home = variable("HF_HOME", variable("XDG_CACHE_HOME", user / ".cache") / "huggingface")
        hub = variable("HF_HUB_CACHE", variable("HUGGINGFACE_HUB_CACHE", hub_home / "hub"))
        lmstudio_homes = _lmstudio_homes(user)
        jan = jan_data((settings / "Jan", data / "Jan"), variable("APPDATA", data) / "Jan" / "data")
        return cls(
            home=variable("GGUFJAC_HOME", data / "ggufjac"),
            ollama=_unique(
                *given("OLLAMA_MODELS")[:1],
                user / ".ollama" / "models",
                *(_ollama_services(root, user, settings) if platform.startswith("linux") else ()),
            ),
            lmstudio=_unique(
                *lmstudio_downloads((*lmstudio_homes, settings / "LM Studio"), user),
                *(home / "models" for home in lmstudio_homes),
            ),
            hub=hub,
            llamacpp=tuple(
                folder
                for folder in _unique(*given("LLAMA_CACHE")[:1], caches / "llama.cpp")
                if folder != hub  # it is searched already
            ),
            jan=_unique(*(folder / "llamacpp" / "models" for folder in jan), user / "jan" / "models"),
            gpt4all=_unique(data / "nomic.ai" / "GPT4All", user / ".cache" / "gpt4all"),
            others=given("GGUFJAC_MODELS"),
        )


def _absolute(value: str, user: Path) -> Path:
    if value == "~" or value.startswith(("~/", "~\\")):
        return user / value[2:]
    return Path(os.path.abspath(value))


def _unique(*folders: Path) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(folders))


def _ollama_services(root: Path, user: Path, settings: Path) -> Iterator[Path]:
    """Where Ollama keeps its models when it runs as a service of a Linux system."""
    yield from ollama_service(root, settings / "systemd" / "user", user)
    # The homes of the service's user: Ollama's own installer, then the packages of Arch, Debian, NixOS, and snap.
    yield root / "usr/share/ollama/.ollama/models"
    yield root / "var/lib/ollama/.ollama/models"
    yield root / "var/lib/ollama/models"
    yield root / "var/lib/ollama"
    yield root / "var/snap/ollama/common/models"


def _lmstudio_homes(user: Path) -> tuple[Path, ...]:
    """LM Studio's homes; one that was moved is named by ~/.lmstudio-home-pointer."""
    homes = [user / ".lmstudio", user / ".cache" / "lm-studio"]
    try:
        moved = (user / ".lmstudio-home-pointer").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        moved = ""
    if moved:
        homes.insert(0, Path(moved))
    return _unique(*homes)
