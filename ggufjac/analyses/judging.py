"""llama.cpp's own opinion of a prompt, asked for where a map explains exact arithmetic."""

from __future__ import annotations

from ggufjac.analyses.agreement import ROUNDING, Agreement, compare
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model


def ask_llama(model: Model, linear: DetachedMap, threads: int) -> tuple[Agreement | None, str]:
    """llama.cpp's logits on the file as it is; None and the reason for a model that it cannot run."""
    try:
        with Runner(model.file.path, n_ctx=len(linear.tokens), threads=threads) as runner:
            theirs = runner.logits(linear.tokens)
    except UserError as error:
        return None, str(error)
    return compare(linear.logits.numpy(), theirs, ROUNDING), ""
