"""What every analysis returns: plain facts and arrays that can be shown, saved and read again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from torch import Tensor

from ggufjac import atomic
from ggufjac.analyses.common.facts import ModelFacts
from ggufjac.analyses.common.followed import Followed
from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.records import ARRAYS, from_plain, to_plain
from ggufjac.analyses.common.views import Drawing, ResultViews
from ggufjac.analyses.digest import digest_of
from ggufjac.chat.prompt import Turn
from ggufjac.readable import storable_json
from ggufjac.version import __version__

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The metadata keys under which a safetensors file carries its result, and the checksum of all that is in it.
RESULT, DIGEST = "ggufjac.result", "ggufjac.sha256"
#: How safetensors, whose errors are none of the system's, names the system's in its messages.
SYSTEM = re.compile(r"\(os error (\d+)\)")

R = TypeVar("R", bound="Result")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one analysis: a frozen dataclass of plain values, and arrays by name.

    A subclass names its `kind` and the number of its JSON schema. A result shows itself in a terminal (rich) and in a
    notebook, once something that draws results is there (`views`).
    """

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1
    #: What draws results; ggufjac.reports puts itself here.
    views: ClassVar[ResultViews | None] = None

    version: str = __version__
    arrays: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False, metadata={ARRAYS: True})

    def __post_init__(self) -> None:
        """Arrays lie on the CPU, wherever they were computed."""
        object.__setattr__(self, "arrays", {name: array.cpu() for name, array in self.arrays.items()})

    @classmethod
    def schema(cls) -> str:
        """The name and number of the JSON form, as docs/json.md describes it."""
        return f"ggufjac.{cls.kind}/{cls.schema_version}"

    @classmethod
    def view_name(cls) -> str:
        """What the modules that draw results of this kind are called."""
        return cls.kind.replace("-", "_")

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, as values that json can write; a number that is not finite is None."""
        plain: dict[str, Any] = to_plain(self)
        return {"schema": self.schema(), "version": plain.pop("version"), **plain}

    def to_json(self) -> str:
        return storable_json(json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False))

    @classmethod
    def from_dict(cls: type[R], plain: dict[str, Any], arrays: dict[str, Tensor] | None = None) -> R:
        """The inverse of `to_dict`. Raises ValueError, KeyError or TypeError where it is not of this kind."""
        if plain.get("schema") != cls.schema():
            raise ValueError(f"it has the schema {plain.get('schema')!r}, not {cls.schema()!r}")
        return replace(from_plain(cls, plain), arrays=arrays or {})

    def save(self, target: str | Path) -> None:
        """Arrays and facts as one safetensors file with their checksum, which appears whole or not at all.

        Raises UserError where it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        contiguous = {name: array.detach().contiguous() for name, array in self.arrays.items()}
        text = self.to_json()

        def fill(path: Path) -> None:
            try:
                save_file(contiguous, path, metadata={RESULT: text, DIGEST: digest_of(text, contiguous)})
            except SafetensorError as error:
                found = SYSTEM.search(str(error))
                if found is None:
                    raise
                raise OSError(int(found[1]), os.strerror(int(found[1]))) from None

        atomic.write(target, fill)

    # --- views ------------------------------------------------------------------------------------------------

    def pictures(self) -> tuple[Drawing, ...]:
        """The result as pictures, which show themselves in a notebook. Raises UserError where matplotlib is missing."""
        return self._drawn_by().pictures(self)

    def plot(self, folder: str | Path, form: Literal["svg", "png"] = "svg") -> tuple[Path, ...]:
        """Write the pictures into a folder. Raises UserError where matplotlib is missing or nothing can be written."""
        return self._drawn_by().plot(self, folder, form)

    def page(self) -> str:
        """The report as one page of HTML that needs no other file."""
        return self._drawn_by().page(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[RenderableType]:
        yield repr(self) if self.views is None else self.views.terminal(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What IPython shows, in place of a dataclass's own long repr: the report, as HTML and as text."""
        if self.views is None:
            return {"text/plain": repr(self)}
        return {"text/plain": self.views.text(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        return self._drawn_by().cell(self)

    def _drawn_by(self) -> ResultViews:
        if self.views is None:
            raise RuntimeError("nothing that draws results is there; ggufjac.reports.views.install() puts it there")
        return self.views


@dataclass(frozen=True, kw_only=True)
class PromptResult(Result):
    """What every analysis of one prompt says first: the model, the prompt, how it was computed, what is predicted.

    model: the file; prompt: its text; dtype: the precision; rules: how the model was linearised; seed: of what was
    drawn at random; predictions: the ten likeliest next tokens; seconds: of each step; device: where it was computed
    and how that multiplies, where it is not the CPU; turns: of a chat, where the contents of its messages lie among the
    tokens, what lies between them being the template's; notes: what a reader should know of the prompt.
    """

    schema_version: ClassVar[int] = 2

    model: ModelFacts
    prompt: str
    dtype: str
    rules: str
    seed: int
    predictions: tuple[Prediction, ...]
    seconds: dict[str, float]
    device: str | None = None
    turns: tuple[Turn, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MapResult(PromptResult):
    """An analysis of one prompt's linear map. reconstruction: its relative error, ||sum_t J_t x_t + c - y|| / ||y||;
    llama: llama.cpp's own run, where the map explains that instead of exact arithmetic."""

    reconstruction: float
    llama: Followed | None = None
