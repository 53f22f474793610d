"""Lenses by name: lens:qwen3-8b is a public one, of the repository in which fitted lenses are published.

In neuronpedia/jacobian-lens a folder for every model holds `jlens/CORPUS/MODEL_jacobian_lens.pt`, or such a file with
`_n1000` for the number of its texts, beside its settings. What there is, the hub is asked at run time.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ggufjac.atomic import settled
from ggufjac.errors import UserError
from ggufjac.registry import hub
from ggufjac.registry.catalogue import HubFile
from ggufjac.registry.lock import locked
from ggufjac.registry.places import Places

REPOSITORY = "neuronpedia/jacobian-lens"
#: How the name of a public lens begins.
PREFIX = "lens:"
SUFFIXES = (".pt", ".safetensors")
_TEXTS = re.compile(r"_n(\d+)$")
CHUNK = 1 << 20


@dataclass(frozen=True)
class PublicLens:
    """A lens's file in the repository. size: bytes, and sha256: of its content, where the hub says them."""

    file: str
    size: int | None = None
    sha256: str | None = None

    @property
    def model(self) -> str:
        """What the repository calls the model."""
        return self.file.split("/", 1)[0]

    @property
    def texts(self) -> int:
        """The number of texts in the name; 0 where it has none."""
        found = _TEXTS.search(PurePosixPath(self.file).stem)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class PulledLens:
    """A lens on this disk. file: of the repository; fresh: whether it was downloaded; checked: whether its sha256 is
    known, and was compared."""

    path: Path
    file: str
    size: int
    fresh: bool
    checked: bool


#: Says what lenses there are.
Listing = Callable[[], Iterable[PublicLens]]


def is_lens_name(name: str) -> bool:
    """Whether a name means a public lens."""
    return name.startswith(PREFIX)


def lens_path(name: str | Path, places: Places | None = None) -> Path:
    """The file that the name of a lens means: a path, or that of a pulled one.

    Raises UserError for a public one that is not on this disk; whether there is a file, `load_lens` says.
    """
    if not is_lens_name(str(name)):
        return Path(name).expanduser()
    folder = _folder(places or Places.here(), _wanted(str(name)))
    found = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    if not found:
        raise UserError(f"{name} is not on this disk yet: run `ggufjac pull {name}`")
    return found[0]


def pull_lens(
    name: str,
    places: Places | None = None,
    *,
    force: bool = False,
    listing: Listing | None = None,
    download: hub.Downloader | None = None,
) -> PulledLens:
    """Bring the public lens lens:NAME into the folder of models, whole and checked; force: even where one is there.

    listing, download: what asks the hub (None: huggingface_hub). Raises UserError where huggingface_hub or the network
    is missing, where there is no such lens, and where the content is not what the hub says.
    """
    places, wanted = places or Places.here(), _wanted(name)
    folder = _folder(places, wanted)
    if not force:
        with contextlib.suppress(UserError):
            there = lens_path(name, places)
            return PulledLens(there, there.name, there.stat().st_size, fresh=False, checked=False)
    lens = chosen(wanted, _listed(name, listing))
    if lens.size is not None:
        hub.require_space(places.hub, lens.size, name)
    source = HubFile(REPOSITORY, lens.file)
    target = folder / PurePosixPath(lens.file).name
    content = hub.fetch(name, source, target, force, download)
    if lens.sha256 is not None and _sha256(content) != lens.sha256:
        for path in (content.resolve(), content):  # in the cache a file is a link to its content
            path.unlink(missing_ok=True)
        raise UserError(f"{name}: {lens.file} has another sha256 than the hub says; it was removed, pull it again")
    try:
        _placed(content.resolve(), target, name)
    except OSError as error:
        raise UserError(f"{name} cannot be stored in {folder}: {error.strerror}") from error
    return PulledLens(target, lens.file, target.stat().st_size, fresh=True, checked=lens.sha256 is not None)


def chosen(wanted: str, known: Iterable[PublicLens]) -> PublicLens:
    """The lens that a name means: a folder of the repository, or more of a path; of several in one folder the one of
    the most texts.

    Raises UserError, with close names, where there is none, and with all of them where it means several.
    """
    lenses = list(known)
    asked = wanted.casefold().strip("/")
    found = [x for x in lenses if x.file.casefold() == asked or x.file.casefold().startswith(f"{asked}/")]
    if not found:
        names = sorted({x.model for x in lenses})
        close = difflib.get_close_matches(asked, [n.casefold() for n in names], 3, 0.5) or names
        raise UserError(f"hf.co/{REPOSITORY} has no lens of {wanted!r}; it has {', '.join(close[:6])}")
    folders = sorted({x.file.rpartition("/")[0] for x in found})
    if len(folders) > 1:
        raise UserError(f"{PREFIX}{wanted} means several: {', '.join(PREFIX + folder for folder in folders)}")
    return max(found, key=lambda x: (x.texts, x.file))


def _wanted(name: str) -> str:
    wanted = name.removeprefix(PREFIX).strip().strip("/")
    if not wanted or {"..", "."} & set(wanted.split("/")) or "\\" in wanted:
        raise UserError(f"{name!r} names no lens; write for example {PREFIX}qwen3-8b")
    return wanted


def _folder(places: Places, wanted: str) -> Path:
    return places.models / "lenses" / wanted.casefold().replace("/", "--")


def _listed(name: str, listing: Listing | None) -> list[PublicLens]:
    try:
        return list((listing or _hub_listing(name))())
    except Exception as error:
        reason = hub.reason(HubFile(REPOSITORY, "the list of its lenses"), error)
        if reason is None:
            raise
        raise UserError(f"{name}: {reason}") from error


def _hub_listing(name: str) -> Listing:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError(
            f"{name} comes from Hugging Face, which needs huggingface_hub: run `pip install huggingface_hub`, or "
            f"download a file of https://huggingface.co/{REPOSITORY} and give its path as --lens"
        ) from error

    def ask() -> Iterable[PublicLens]:
        info = HfApi().model_info(REPOSITORY, files_metadata=True)
        return [_of_sibling(file) for file in info.siblings or () if file.rfilename.endswith(SUFFIXES)]

    return ask


def _of_sibling(file: Any) -> PublicLens:
    """What the hub says of a file; its large files have a checksum, in a record or (in older versions) a dict."""
    large = getattr(file, "lfs", None)
    digest = large.get("sha256") if isinstance(large, dict) else getattr(large, "sha256", None)
    return PublicLens(file.rfilename, getattr(file, "size", None), digest)


def _placed(content: Path, target: Path, name: str) -> None:
    """Give the content its place, whole or not at all: a second name for it, or a copy on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock"), name):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch:
            made = Path(scratch) / target.name
            try:
                os.link(content, made)
            except OSError:
                shutil.copyfile(content, made)
            os.replace(made, target)
        settled(target.parent)
        for other in target.parent.glob("*"):  # one lens a folder
            if other != target and other.suffix in SUFFIXES:
                other.unlink()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
