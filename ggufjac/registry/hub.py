"""Files from Hugging Face, through huggingface_hub (the optional extra `hub`), used where its cache keeps them."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import Protocol

from ggufjac.errors import UserError
from ggufjac.registry.catalogue import HubFile
from ggufjac.registry.stores.huggingface import repository_folder


class Downloader(Protocol):
    """What fetches a file of a repository into a cache and returns its path there."""

    def __call__(self, *, repo_id: str, filename: str, revision: str | None, force_download: bool) -> str:
        """The path of the file, downloaded unless it is there; with `force_download` in any case."""


def fetch(name: str, source: HubFile, by_hand: Path, force: bool, download: Downloader | None) -> Path:
    """The file of what is pulled by a name, in Hugging Face's cache, downloaded (or resumed) where it is not there.

    `by_hand` is where a user may put the file without huggingface_hub; `download` is huggingface_hub's own where
    None. Raises UserError where huggingface_hub or the network is missing, the repository is gated or unknown.
    """
    download = download or _hub_download(name, source, by_hand)
    try:
        return Path(
            download(repo_id=source.repository, filename=source.file, revision=source.revision, force_download=force)
        )
    except Exception as error:
        why = reason(source, error)
        if why is None:
            raise
        raise UserError(f"{name}: {why}") from error


def unfinished(source: HubFile, cache: Path) -> int:
    """Bytes of a repository that interrupted downloads have left in Hugging Face's cache."""
    blobs = cache / repository_folder(source.repository) / "blobs"
    sizes = []
    for path in blobs.glob("*.incomplete"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def require_space(folder: Path, size: int | None, name: str) -> None:
    """Raise UserError where the disk of a folder, which may not be there yet, has too little room."""
    if size is None:
        return
    # A folder that is yet to be made will be on the disk of its nearest parent.
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(f"{name} needs {size / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB free")


def _hub_download(name: str, source: HubFile, by_hand: Path) -> Downloader:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        url = f"https://huggingface.co/{source.repository}/resolve/{source.revision or 'main'}/{source.file}"
        raise UserError(
            f"{name} comes from Hugging Face, which needs huggingface_hub: run `pip install huggingface_hub`, "
            f"or download {url} to {by_hand}"
        ) from error
    downloader: Downloader = hf_hub_download
    return downloader


def reason(source: HubFile, error: Exception) -> str | None:
    """One line on why the hub gave no file; None for an exception that says nothing about that.

    The exceptions of huggingface_hub are told apart by name: it derives them from those of requests or of httpx,
    depending on its version.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    page = f"https://huggingface.co/{source.repository}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "GatedRepoError" in kinds or ("HfHubHTTPError" in kinds and status == 403):
        return (
            f"the repository is gated: accept its licence at {page}, then log in with `hf auth login` or set HF_TOKEN"
        )
    # Also an EntryNotFoundError, but it means: neither in the cache nor reachable.
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}:
        return f"huggingface.co cannot be reached for {source.file}: check the network, and HF_HUB_OFFLINE"
    if "RevisionNotFoundError" in kinds:
        return f"{page} has no revision {source.revision}"
    if "EntryNotFoundError" in kinds:
        return f"{page} has no file {source.file} in revision {source.revision or 'main'}"
    if "RepositoryNotFoundError" in kinds or ("HfHubHTTPError" in kinds and status in (401, 404)):
        return f"{page} does not exist, or is private: log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full: make room, then pull again to resume"
    if "HfHubHTTPError" in kinds and status is not None:
        return f"huggingface.co answered with status {status} for {source.file}: try again later"
    if kinds & {"ConnectionError", "TransportError", "Timeout", "TimeoutError", "HfHubHTTPError"}:
        return (
            f"huggingface.co cannot be reached ({type(error).__name__}): check the network, then pull again to resume"
        )
    return None
