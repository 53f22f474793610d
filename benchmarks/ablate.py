"""A prompt of 100 tokens without each of them, beside running every such prompt as a whole.

The baseline is what shares nothing: every prompt without a token by itself, and prompts with a vector set to 0 from
their first position on, as many side by side as make good use of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac.maps.model import Model
from ggufjac.network.variants import WholePrompt, logits_at
from ggufjac.registry import resolve

MODEL = "smollm2-135m"
N_TOKENS = 100
TEXT = (
    "Priya asked whether the new password had been sent, because the old one no longer worked and the meeting was "
    "about to begin. Tom said that he had written it on a yellow note and left it under the keyboard of the "
    "computer near the window, where the light was better in the morning. She went upstairs, moved the plants "
    "aside, lifted the keyboard and found three notes, all of them yellow: one with a telephone number, one with "
    "a list of things to buy on the way home, and one that said nothing but"
)
HEADINGS = ("100 tokens, float32", "tokens taken away", "as a whole, s", "shared, s", "ratio", "logits differ by")


def rows() -> Iterator[list[str]]:
    """Both ways in turn, for the tokens that `ablate` tries and for all of them."""
    with Model.open(resolve(MODEL)) as model:
        ids = model.tokenize(TEXT)[:N_TOKENS]
        inputs = model.embed(ids)
        prompt = WholePrompt(model.family, torch.tensor(ids), inputs)
        for positions in (range(0, N_TOKENS, 3), range(N_TOKENS)):
            yield _row("set to 0", positions, lambda p: _zeroed(model, ids, inputs, p), prompt.zeroed)
            yield _row("left out", positions, lambda p: _left_out(model, ids, p), prompt.left_out)


def _row(
    name: str,
    positions: Sequence[int],
    whole: Callable[[Sequence[int]], Tensor],
    shared: Callable[[Sequence[int]], Tensor],
) -> list[str]:
    apart = float((whole(positions) - shared(positions)).abs().max())
    before, _ = timed(lambda: whole(positions), 2)
    after, _ = timed(lambda: shared(positions), 2)
    return [name, str(len(positions)), f"{before:.2f}", f"{after:.2f}", f"{before / after:.1f}x", f"{apart:.1e}"]


def _zeroed(model: Model, ids: Sequence[int], inputs: Tensor, positions: Sequence[int]) -> Tensor:
    changed = inputs.repeat(len(positions), 1, 1)
    changed[range(len(positions)), list(positions)] = 0
    return logits_at(model.family, ids, changed)


def _left_out(model: Model, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
    shorter = ([*ids[:t], *ids[t + 1 :]] for t in positions)
    return torch.cat([logits_at(model.family, rest, model.embed(rest)[None]) for rest in shorter])


def table() -> Table:
    return Table(HEADINGS, rows(), f"{MODEL}; {torch.get_num_threads()} threads.")


def main() -> None:
    table().print()
