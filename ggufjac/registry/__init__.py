"""Models by name: models.toml, `ggufjac pull`, and what other programs already have on this disk."""

from ggufjac.registry.catalogue import CatalogueEntry, HubFile, Wheel, entries
from ggufjac.registry.local import local_models, stored
from ggufjac.registry.names import find_entry, resolve
from ggufjac.registry.places import Places
from ggufjac.registry.pull import Progress, Pulled, PullStep, pull
from ggufjac.registry.stores.model import LocalModel

__all__ = [
    "CatalogueEntry",
    "HubFile",
    "LocalModel",
    "Places",
    "Progress",
    "PullStep",
    "Pulled",
    "Wheel",
    "entries",
    "find_entry",
    "local_models",
    "pull",
    "resolve",
    "stored",
]
