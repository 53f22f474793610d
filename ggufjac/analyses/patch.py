"""Where in the network two prompts come to differ: one prompt's values put into the other one's run, place by place.

Activation patching (causal tracing; Meng et al., arXiv 2202.05262; Wang et al., arXiv 2211.00593): the corrupt prompt
is run with the clean prompt's value at one layer and position, of the stream that leaves the block or of what one of
its parts writes, or with what a head of attention reads there at all positions, and everything that follows is computed
anew. What that restores of the difference between the two prompts is measured in real runs, and estimated for all
places at once from one backward sweep at the corrupt prompt: by the rules of the derivative (attribution patching), and
by others. How the estimates follow the real runs is said by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.predictions import Prediction, prediction_of, top_predictions
from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import PatchOptions, Token
from ggufjac.analyses.restored import PatchedHeads, PatchEstimate, correlation, heads_of, layers_with_heads, padded
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of
from ggufjac.maps.within.estimates import changes
from ggufjac.maps.within.sites import LAYER
from ggufjac.network.patches import HEADS, STREAM, Patch, Patched, Traced, parts_of, traced
from ggufjac.quants.memory.devices import device_called

#: Two prompts differ in the metric where they do by so much of the spread of the logits: what rounding moves is a
#: hundredth of that in float32 (measured: 1e-6 of the spread), and a cell is right to a percent.
DIFFER = 1e-4


@dataclass(frozen=True)
class PatchToken:
    """A position of both prompts, from 0. clean, corrupt: what each has there."""

    position: int
    clean: Piece
    corrupt: Piece


@dataclass(frozen=True)
class PatchedPart:
    """What a part of the layers restores.

    part: "stream", or a block's name; layers: those that have it. restored: in real runs, by layer and position, the
    fraction of the difference between the two prompts; 0 where the last position does not read the place. estimates: by
    rules.
    """

    part: str
    layers: tuple[int, ...]
    restored: tuple[tuple[float, ...], ...]
    estimates: tuple[PatchEstimate, ...]


@dataclass(frozen=True, kw_only=True)
class Patching(PromptResult):
    """One prompt's run with values of another one's, place by place.

    clean: the prompt whose values are put in; `prompt` is the corrupt one, which is run. tokens: of both; first: the
    first position where they differ, before which nothing does. target: the token that is followed, as the clean prompt
    has it; against: the one that its logit is taken above, as the corrupt prompt has it (None: the target's ln p is
    followed). clean_metric, corrupt_metric: that number at each prompt
    alone. clean_predictions: the likeliest next tokens of the clean prompt. n_layer: how many layers there are;
    positions: that were patched; parts: of the layers, and what each restores; heads: what single heads restore (None:
    not asked for). n_runs: patched runs that were computed.
    """

    kind: ClassVar[str] = "patch"

    clean: str
    clean_predictions: tuple[Prediction, ...]
    tokens: tuple[PatchToken, ...]
    first: int
    target: Prediction
    against: Prediction | None
    clean_metric: float
    corrupt_metric: float
    n_layer: int
    positions: tuple[int, ...]
    parts: tuple[PatchedPart, ...]
    heads: PatchedHeads | None
    n_runs: int


@dataclass(frozen=True)
class PatchMetric:
    """What is followed: a token's logit above another one's, or its ln p (against: None)."""

    target: int
    against: int | None

    def of(self, logits: Tensor) -> Tensor:
        """[n, n_vocab] -> [n] float64."""
        if self.against is None:
            return logits.cpu().double().log_softmax(-1)[:, self.target]
        two = logits[:, [self.target, self.against]].cpu().double()
        return two[:, 0] - two[:, 1]

    def functional(self, linear: DetachedMap) -> Tensor:
        """Its derivative by the final state, by the rules of the map [d]."""
        if self.against is None:
            return linear.surprise(self.target)
        of_logits = torch.zeros_like(linear.logits)
        of_logits[self.target], of_logits[self.against] = 1, -1
        return linear.functional(of_logits)[0]


def patch(
    model: Model,
    clean: PromptLike,
    corrupt: PromptLike,
    options: PatchOptions | None = None,
    progress: Progress = silent,
) -> Patching:
    """Put the clean prompt's values into the corrupt prompt's run, place by place.

    Raises UserError for prompts of different lengths or without a difference, in their tokens or in what is followed,
    and for tokens, layers, positions and parts that do not exist.
    """
    options = options or PatchOptions()
    subject = Subject(model, corrupt, options, progress)
    ids, clean_ids = subject.ids, model.ids_of(clean)
    first = _first_difference(subject, clean_ids)
    positions = _positions(len(ids), first, options)
    layers = _layers(model.family.n_layer, options)
    headed = layers_with_heads(model, layers) if options.heads else ()
    target, against = _named(subject, options.target, "target"), _named(subject, options.against, "against")

    subject.lap("the two runs")
    base, source, budget = _both(subject, clean_ids, heads=options.heads)
    parts = _parts(base, options)
    metric = _metric(base, source, target, against)
    alone, whole = (float(metric.of(run.done.logits)[0]) for run in (base, source))
    _require_difference(subject, metric, alone, whole, base.done.logits)
    grid = {part: tuple(layer for layer in layers if base.has(layer, part)) for part in parts}

    subject.lap("patched runs")
    runs = Patched(model.family, ids, base, source, budget, subject.passed)
    places = [Patch(part, layer, t) for part in parts for layer in grid[part] for t in positions]
    found = runs.scores(places, metric.of)
    real = {
        part: torch.tensor(
            [[found.get(Patch(part, layer, t), alone) - alone for t in positions] for layer in grid[part]],
            dtype=torch.float64,
        )
        / (whole - alone)
        for part in parts
    }
    by_head = runs.heads(headed, positions, metric.of) if headed else {}
    real_heads = {
        layer: torch.tensor(
            [by_head.get((layer, h), alone) - alone for h in range(base.heads[layer].shape[-2])], dtype=torch.float64
        )
        / (whole - alone)
        for layer in headed
    }
    subject.lap("estimates")
    made = {
        rules: _estimate(subject, options, rules, metric, base, source, grid, headed, positions, whole - alone)
        for rules in options.estimates
    }
    estimates = {rules: by_part for rules, (by_part, _) in made.items()}
    head_estimates = {rules: by_layer for rules, (_, by_layer) in made.items()}
    subject.require_numbers(*real.values(), *(grid for by_part in estimates.values() for grid in by_part.values()))
    subject.require_numbers(*real_heads.values(), *(line for by in head_estimates.values() for line in by.values()))
    arrays: dict[str, Tensor] = {
        "tokens.clean": torch.tensor(clean_ids),
        "logits": base.done.logits[0],
        "logits.clean": source.done.logits[0],
        **{f"layers.{part}": torch.tensor(grid[part]) for part in parts},
        **{f"restored.{part}": real[part] for part in parts},
        **{f"estimates.{part}": torch.stack([e[part] for e in estimates.values()]) for part in parts if estimates},
        "positions": torch.tensor(positions),
    }
    if headed:
        arrays |= {"layers.heads": torch.tensor(headed), "restored.heads": padded(real_heads)}
    if headed and made:
        arrays["estimates.heads"] = torch.stack([padded(by_layer) for by_layer in head_estimates.values()])
    logits, speller = base.done.logits[0].cpu(), subject.speller
    facts = subject.facts(top_predictions(logits, speller))
    return Patching(
        **{**facts, "rules": "; ".join(options.estimates)},
        clean=text_of(model, clean, clean_ids),
        clean_predictions=top_predictions(source.done.logits[0].cpu(), speller),
        tokens=tuple(
            PatchToken(t, speller.piece(a), speller.piece(b))
            for t, (a, b) in enumerate(zip(clean_ids, ids, strict=True))
        ),
        first=first,
        target=prediction_of(source.done.logits[0].cpu(), speller, metric.target),
        against=None if metric.against is None else prediction_of(logits, speller, metric.against),
        clean_metric=whole,
        corrupt_metric=alone,
        n_layer=model.family.n_layer,
        positions=positions,
        parts=tuple(
            PatchedPart(
                part,
                grid[part],
                _plain(real[part]),
                tuple(
                    PatchEstimate(rules, _plain(grids[part]), correlation(grids[part].flatten(), real[part].flatten()))
                    for rules, grids in estimates.items()
                ),
            )
            for part in parts
        ),
        heads=heads_of(real_heads, head_estimates, tuple(layer for layer in layers if layer not in headed))
        if headed
        else None,
        n_runs=len(found) + len(by_head),
        arrays=subject.arrays(**arrays),
    )


# --- what is asked -----------------------------------------------------------------------------------------------


def _first_difference(subject: Subject, clean: Sequence[int]) -> int:
    """The first position where the two prompts differ. Raises UserError where they do not, or are not equally long."""
    corrupt, spell = subject.ids, subject.speller.piece
    differ = [t for t, (a, b) in enumerate(zip(clean, corrupt, strict=False)) if a != b]
    if len(clean) != len(corrupt):
        if differ:
            t = differ[0]
            where = f"at position {t}, {spell(clean[t]).shown!r} and {spell(corrupt[t]).shown!r}"
        else:
            where = f"at position {min(len(clean), len(corrupt))}, where the shorter one ends"
        raise UserError(
            f"the clean prompt has {len(clean)} tokens and the corrupt one {len(corrupt)}; patching needs two of equal "
            f"length (they begin to differ {where}; `ggufjac tokenize` shows how a text is cut)"
        )
    if not differ:
        raise UserError(f"the clean and the corrupt prompt are the same {len(corrupt)} tokens; change one of them")
    return differ[0]


def _positions(n_tokens: int, first: int, options: PatchOptions) -> tuple[int, ...]:
    for t in options.positions:
        if not 0 <= t < n_tokens:
            raise UserError(f"there is no token at position {t}; the prompts have {n_tokens}, from 0")
        if t < first:
            raise UserError(f"at position {t} the two runs are the same: the prompts differ from position {first} on")
    return tuple(sorted(set(options.positions))) or tuple(range(first, n_tokens))


def _layers(n_layer: int, options: PatchOptions) -> tuple[int, ...]:
    if options.layers is None:
        return tuple(range((n_layer - 1) % options.every, n_layer, options.every))
    for layer in options.layers:
        if not 0 <= layer < n_layer:
            raise UserError(f"there is no layer {layer}; the model has layers 0 to {n_layer - 1}")
    return tuple(sorted(set(options.layers)))


def _named(subject: Subject, token: Token | None, option: str) -> int | None:
    return None if token is None else subject.token(token, option)


def _parts(base: Traced, options: PatchOptions) -> tuple[str, ...]:
    """The parts that are asked for, in the order of the network. Raises UserError for those that it does not have."""
    there = parts_of(base)
    for part in options.parts:
        if part not in there:
            raise UserError(f"no layer of this model has a part {part!r}; there are {', '.join(there)}")
    return tuple(part for part in there if not options.parts or part in options.parts)


def _metric(base: Traced, source: Traced, target: int | None, against: int | None) -> PatchMetric:
    """What is followed, where tokens are not named: the clean prompt's likeliest above the corrupt one's."""
    if target is None:
        target = int(source.done.logits[0].argmax())
    if against is None:
        likeliest = int(base.done.logits[0].argmax())
        against = None if likeliest == target else likeliest
    elif against == target:
        raise UserError("the target and what it is taken against are the same token; name two")
    return PatchMetric(target, against)


def _require_difference(subject: Subject, metric: PatchMetric, corrupt: float, clean: float, logits: Tensor) -> None:
    if abs(clean - corrupt) > DIFFER * float(logits.std()):
        return
    target, against = (None if i is None else subject.speller.piece(i).shown for i in (metric.target, metric.against))
    what = f"ln p of {target!r}" if against is None else f"the logit of {target!r} over {against!r}"
    raise UserError(
        f"{what} is {clean:.4f} at the clean prompt and {corrupt:.4f} at the corrupt one: there is no difference to "
        "restore; name another target or prompt"
    )


# --- what is computed --------------------------------------------------------------------------------------------


def _both(subject: Subject, clean_ids: Sequence[int], *, heads: bool) -> tuple[Traced, Traced, int]:
    """The runs of the corrupt and the clean prompt, and what they leave of the memory budget."""
    model, options = subject.model, subject.options
    where = device_called(options.device, options.values_dtype)
    placed = model.family.source.placed(where, options.memory)
    inputs = [model.embed(ids, options.values_dtype).to(where) for ids in (subject.ids, clean_ids)]
    placed.budget.require_states(inputs[0].nbytes, 2 * (model.family.n_layer + 1), len(subject.ids))
    base, source = (
        traced(model.family, ids, x, placed.store, options.n_ctx, heads=heads)
        for ids, x in zip((subject.ids, clean_ids), inputs, strict=True)
    )
    held = base.held_bytes + source.held_bytes
    return base, source, max(placed.budget.values - held, placed.budget.values // 2)


def _estimate(
    subject: Subject,
    options: PatchOptions,
    rules: str,
    metric: PatchMetric,
    base: Traced,
    source: Traced,
    grid: dict[str, tuple[int, ...]],
    headed: Sequence[int],
    positions: tuple[int, ...],
    whole: float,
) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """The fraction of the difference that each place should restore: by part [layers, positions], and by layer of its
    heads [n_head], at all positions together."""
    linear = subject.linearized(options.by(rules), base.held_bytes + source.held_bytes)

    def difference(layer: int, site: str) -> Tensor | None:
        part = STREAM if site == LAYER else site
        if layer not in grid.get(part, ()):
            return None
        return source.value(layer, part) - base.value(layer, part)

    def of_heads(layer: int) -> Tensor | None:
        return source.heads[layer] - base.heads[layer] if layer in headed else None

    found = changes(linear, metric.functional(linear), subject.model.family.leaving, difference, of_heads)
    back = [t - len(subject.ids) for t in positions]  # from the end, where the last layer may have its last alone
    made = {}
    for part, layers in grid.items():
        values = torch.zeros(len(layers), len(positions), dtype=torch.float64)
        for i, layer in enumerate(layers):
            here = found[layer, LAYER if part == STREAM else part]
            for j, at in enumerate(back):
                if -at <= len(here):
                    values[i, j] = float(here[at])
        made[part] = values / whole
    heads = {}
    for layer in headed:
        here = found[layer, HEADS].double()
        heads[layer] = here[[at for at in back if -at <= len(here)]].sum(0).cpu() / whole
    return made, heads


def _plain(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))
