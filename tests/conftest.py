"""Fixtures that several test files share: small random models, and the two real ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from rich.console import Console, RenderableType

from browser import chromium
from ggufjac.analyses.common.result import Result
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.registry import Places, resolve
from ggufjac.reports import views
from tinymodels import make

if TYPE_CHECKING:
    from ggufjac.batch.units import Unit

#: Thirteen token ids of the synthetic vocabulary, BOS first.
IDS = [1, 300, 17, 42, 280, 99, 7, 123, 256, 64, 31, 200, 5]

#: Seconds after which a test gives up waiting for another process: it hangs then. Never a bound on how fast one is.
PATIENCE = 600

# The machine may be as slow and as busy as it likes: neither an example nor drawing it has a deadline.
NO_CLOCK = (HealthCheck.too_slow,)
settings.register_profile("no clock", deadline=None, suppress_health_check=NO_CLOCK)
settings.load_profile("no clock")


def real(name: str) -> Path:
    """A model that `ggufjac pull` fetched, as `make test` does; the test is skipped where it is missing."""
    try:
        return resolve(name)
    except UserError as error:
        pytest.skip(str(error))


def printed(report: RenderableType, width: int, **options: Any) -> str:
    """What a report looks like on a terminal of so many columns; options: of rich's console."""
    file = io.StringIO()
    Console(file=file, width=width, **options).print(report)
    return file.getvalue()


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session", autouse=True)
def _results_show_themselves() -> None:
    views.install()


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    return real("smollm2-135m")


@pytest.fixture(scope="session")
def gemma3_path() -> Path:
    return real("gemma3-270m")


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama with biases everywhere, so that its map is affine."""
    path = tmp_path_factory.mktemp("tiny") / "llama.gguf"
    return make("llama", path, attention_bias=True, mlp_bias=True)


@pytest.fixture(scope="session")
def results(tiny: Model) -> dict[str, Result]:
    """A result of every kind."""
    from results import every

    return every(tiny)


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Iterator[Model]:
    with Model.open(tiny_path) as model:
        yield model


# --- batches and disks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Model]]:
    """Opens the small model of a family, once for all tests of a file."""
    models: dict[str, Model] = {}

    def one(family: str) -> Model:
        if family not in models:
            models[family] = Model.open(make(family, tmp_path_factory.mktemp(family) / "m.gguf"))
        return models[family]

    yield one
    for model in models.values():
        model.close()


@pytest.fixture(scope="session")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("gemma3", tmp_path_factory.mktemp("other") / "gemma.gguf", n_layer=2)


@pytest.fixture(scope="session")
def units(tiny_path: Path, other_path: Path) -> tuple[Unit, ...]:
    from batches import HOW, PROMPTS
    from ggufjac.batch.prompts import PromptLine
    from ggufjac.batch.run import sources
    from ggufjac.batch.units import units_of

    lines = [PromptLine(i, text) for i, text in enumerate(PROMPTS, 1)]
    return units_of(lines, sources([tiny_path, other_path]), ["analyze"], HOW)


@pytest.fixture(scope="session")
def whole(units: Sequence[Unit], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has interrupted."""
    from ggufjac.batch.run import run_batch

    folder = tmp_path_factory.mktemp("whole") / "results"
    summary = run_batch(folder, units)
    assert (summary.done, summary.failed, summary.pending) == (10, 0, 0)
    return folder


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
