"""Where models lie on this machine: ggufjac's own folder and those of Ollama, LM Studio and Hugging Face."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The folders that are searched; none of them has to exist."""

    home: Path
    """ggufjac's data folder: pulled files in `models`, entries of the user's own in `models.toml`."""
    ollama: tuple[Path, ...]
    """Ollama's model folders (each with `manifests` and `blobs`), the one that counts first."""
    lmstudio: tuple[Path, ...]
    """LM Studio's model folders: publisher/repository/file.gguf."""
    hub: Path
    """Hugging Face's cache: models--org--name/snapshots/<revision>/..."""

    @property
    def models(self) -> Path:
        """The folder of pulled files."""
        return self.home / "models"

    @classmethod
    def here(cls) -> Places:
        """The folders of this process: its environment, its user, its platform."""
        return cls.of(os.environ, Path.home(), sys.platform)

    @classmethod
    def of(cls, environment: Mapping[str, str], user: Path, platform: str) -> Places:
        """The folders that the environment variables, the user's home and `sys.platform` imply."""

        def variable(name: str, otherwise: Path) -> Path:
            # A variable that is set to nothing counts as unset, as the XDG specification has it.
            value = environment.get(name)
            return _absolute(value, user) if value else otherwise

        if platform == "win32":
            data = variable("LOCALAPPDATA", user / "AppData" / "Local") / "ggufjac"
        elif platform == "darwin":
            data = user / "Library" / "Application Support" / "ggufjac"
        else:
            data = variable("XDG_DATA_HOME", user / ".local" / "share") / "ggufjac"

        # The system service of Ollama's Linux installer keeps its models in that user's home.
        service = (Path("/usr/share/ollama/.ollama/models"),) if platform.startswith("linux") else ()
        caches = variable("XDG_CACHE_HOME", user / ".cache")
        legacy_hub = variable("HUGGINGFACE_HUB_CACHE", variable("HF_HOME", caches / "huggingface") / "hub")
        return cls(
            home=variable("GGUFJAC_HOME", data),
            ollama=(variable("OLLAMA_MODELS", user / ".ollama" / "models"), *service),
            lmstudio=_lmstudio(user),
            hub=variable("HF_HUB_CACHE", legacy_hub),
        )


def _absolute(value: str, user: Path) -> Path:
    if value == "~" or value.startswith(("~/", "~\\")):
        return user / value[2:]
    return Path(os.path.abspath(value))


def _lmstudio(user: Path) -> tuple[Path, ...]:
    """LM Studio's model folders; a home that was moved is named by ~/.lmstudio-home-pointer."""
    homes = [user / ".lmstudio", user / ".cache" / "lm-studio"]
    try:
        moved = (user / ".lmstudio-home-pointer").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        moved = ""
    if moved:
        homes.insert(0, Path(moved))
    return tuple(dict.fromkeys(home / "models" for home in homes))
