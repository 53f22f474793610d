"""A second opinion on a prompt: llama.cpp's where a map explains exact arithmetic, and the other way round."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import torch

from ggufjac.analyses.common.agreement import ROUNDING, Agreement, compare
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.network.followed.run import FollowedRun
from ggufjac.network.forward import propagate, rounded_context

if TYPE_CHECKING:
    from typing_extensions import Self


class Judge:
    """Whom to ask about the maps of one model. llama.cpp loads the file when it is first asked, and keeps it.

    A context manager; not to be shared between threads.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._runner: Runner | None = None
        self._context = 0

    def ask(self, linear: DetachedMap) -> tuple[Agreement | None, str]:
        """llama.cpp's logits beside the exact ones; None and the reason where it cannot run the file."""
        run = linear.forward_pass.run
        if isinstance(run, FollowedRun):
            with torch.no_grad():
                exact = propagate(self._model.family, run.exact(), linear.inputs, keep=0).logits[0].cpu()
            return compare(exact.numpy(), linear.logits.numpy(), ROUNDING), ""
        try:
            theirs = self._run(run.n_ctx).logits(linear.tokens)
        except UserError as error:
            return None, str(error)
        return compare(linear.logits.numpy(), theirs, ROUNDING), ""

    def _run(self, n_ctx: int) -> Runner:
        """llama.cpp with this context, by which it chooses LongRoPE's factors."""
        context = rounded_context(n_ctx)
        if self._runner is None or context != self._context:
            self.close()
            self._runner = Runner(self._model.file.path, n_ctx=context, threads=torch.get_num_threads())
            self._context = context
        return self._runner

    def close(self) -> None:
        """Let llama.cpp go; it is loaded again when it is asked again."""
        if self._runner is not None:
            self._runner.close()
        self._runner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
