"""What quantisation did, tensor by tensor: from one quantisation of a model to another, each tensor's part in it.

Going through the network, the other file's tensors take the place of the one's, one after the other, everything behind
them being the one's (`network.tensorwise`). A tensor's terms are by how much that moves what is followed: the logit of
the answer, its ln p, and KL of the hybrid's prediction from the one file's own. They add up to the whole change. What
one sweep foretells of them to first order stands beside them; and what hurts most is put back into the other file, in a
run of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.stopwatch import Progress, Stopwatch, silent
from ggufjac.analyses.common.targets import token_named
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.compare.following import (
    KL,
    LN_P,
    LOGIT,
    AnswerScores,
    CountedText,
    every_position,
    last_positions,
)
from ggufjac.analyses.compare.quantisations import require_one_model
from ggufjac.analyses.compare.sums import (
    FirstOrderFit,
    TensorGroup,
    TensorTerm,
    first_order_fit,
    groups_of,
    part_of,
    together,
)
from ggufjac.analyses.options import CompareTensorsOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.notes import notes_of_file, text_of
from ggufjac.network.firstorder import first_order
from ggufjac.network.tensorwise import Hybrids, whole_run
from ggufjac.quants.device.choice import described
from ggufjac.quants.memory.devices import device_called


@dataclass(frozen=True)
class QuantisedPrompt:
    """One prompt. text: its own; n_tokens: of it, as far as it was read; answer: the token that is followed, None where
    it is the text's own next one at every position. logit, ln_p: of the answer in each file, kl: KL(one || other), all
    means over the positions that count; same: at how many of these both have the same likeliest token.
    """

    text: str
    n_tokens: int
    n_positions: int
    answer: Piece | None
    logit_one: float
    logit_other: float
    ln_p_one: float
    ln_p_other: float
    kl: float
    same: int


@dataclass(frozen=True)
class PutBack:
    """The other file with some tensors of the one, run as a whole. group: which tensors they are; types: from
    which type to which they were quantised; kl: KL(one || it);
    regained: by how much less that is than of the other file; ln_p: of the answers; bytes: by how many the file grows.
    """

    group: str
    tensors: tuple[str, ...]
    types: tuple[str, ...]
    kl: float
    regained: float
    ln_p: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class TensorComparison(Result):
    """What became of predictions from one quantisation of a model to another, told apart by tensor.

    one, other: the files; by: what is ranked and put back ("tensor", "layer", "type"); positions: which ones count of a
    prompt ("last", "all"); n_positions: how many all together. logit_one, logit_other, ln_p_one, ln_p_other: of the
    answers; kl: KL(one || other) in nats. All numbers are means over the positions that count. same: at which share of
    them both files have the same likeliest token. tensors: in the order of the network; equal: how many others are
    byte for byte the same; idle: names of those that differ and that no text passes. layers, kinds, types: sums of
    tensors. missing: by how much the terms of logit, ln p and KL miss the change that two whole runs have.
    first_order: how well the first order foretells the terms. put_back: what hurts most, put back. limit: the mean KL
    that is allowed (None: any).
    """

    kind: ClassVar[str] = "tensor-comparison"

    one: ModelFacts
    other: ModelFacts
    dtype: str
    by: str
    positions: str
    n_positions: int
    n_layer: int
    prompts: tuple[QuantisedPrompt, ...]
    logit_one: float
    logit_other: float
    ln_p_one: float
    ln_p_other: float
    kl: float
    same: float
    tensors: tuple[TensorTerm, ...]
    equal: int
    idle: tuple[str, ...]
    layers: tuple[TensorGroup, ...]
    kinds: tuple[TensorGroup, ...]
    types: tuple[TensorGroup, ...]
    missing: tuple[float, ...]
    first_order: tuple[FirstOrderFit, ...]
    put_back: tuple[PutBack, ...]
    limit: float | None
    notes: tuple[str, ...]
    seconds: dict[str, float]
    device: str | None = None

    @property
    def exceeds(self) -> bool:
        """Whether the mean KL is above what is allowed."""
        return self.limit is not None and self.kl > self.limit


def compare_tensors(
    one: Model,
    other: Model,
    prompts: Sequence[PromptLike],
    options: CompareTensorsOptions | None = None,
    progress: Progress = silent,
) -> TensorComparison:
    """Attribute the change of predictions from one quantisation to another to tensors.

    Raises UserError for files that are not two quantisations of one model, where there is no prompt, for prompts that
    do not fit the model, and where a hybrid makes something of them that is no number.
    """
    options = options or CompareTensorsOptions()
    where = device_called(options.device, options.values_dtype)
    require_one_model(one, other)
    texts = _texts(one, prompts, options)
    watch = Stopwatch(progress)
    watch.lap("comparing the files")
    hybrids = Hybrids(one.family, other.family)
    if not hybrids.names:
        raise UserError(f"{one.file.path} and {other.file.path} have the same weights: there is nothing to compare")
    runs = _Runs(hybrids, texts, options.values_dtype, where, progress)
    watch.lap("tensors")
    with torch.no_grad():
        runs.walk()
        watch.lap("first order")
        foretold = runs.foretold()
        names, means = hybrids.names, runs.means
        terms = tuple(
            _term(hybrids, name, (means[i + 1] - means[i]).tolist(), foretold[i].tolist())
            for i, name in enumerate(names)
        )
        groups = {by: groups_of(terms, by, one.family.n_layer) for by in ("tensor", "layer", "type", "quantisation")}
        watch.lap("putting back")
        put_back = _put_back(runs, groups[options.by], float(means[-1, KL]), options.top)
    one.require_unchanged()
    other.require_unchanged()
    speller, n = Speller(one.vocab), runs.counts.sum()
    return TensorComparison(
        one=facts_of(one.file),
        other=facts_of(other.file),
        dtype=options.dtype_name,
        device=described(torch.device(options.device), options.dtype_name),
        by=options.by,
        positions=options.counted,
        n_positions=int(n),
        n_layer=one.family.n_layer,
        prompts=tuple(_prompt(one, runs, number, given, speller) for number, given in enumerate(prompts)),
        logit_one=float(means[0, LOGIT]),
        logit_other=float(means[-1, LOGIT]),
        ln_p_one=float(means[0, LN_P]),
        ln_p_other=float(means[-1, LN_P]),
        kl=float(means[-1, KL]),
        same=sum(runs.same) / int(n),
        tensors=terms,
        equal=len(one.file.tensors) - len(names) - len(hybrids.idle),
        idle=hybrids.idle,
        layers=groups["layer"],
        kinds=groups["type"],
        types=groups["quantisation"],
        missing=tuple((runs.own - means[-1]).tolist()),
        first_order=tuple(first_order_fit(terms, number) for number in ("logit", "ln p")),
        put_back=put_back,
        limit=options.fail_above,
        notes=tuple(dict.fromkeys((*notes_of_file(one), *notes_of_file(other)))),
        seconds=watch.stop(),
        arrays={
            "logit": runs.by_prompt[..., LOGIT],
            "ln_p": runs.by_prompt[..., LN_P],
            "kl": runs.by_prompt[..., KL],
            "kl.positions": torch.cat(runs.kl_positions),
            "answers": torch.cat(runs.answers),
            "first_order": foretold,
        },
    )


class _Runs:
    """The hybrids' runs of all texts, and what is followed of them.

    counts [texts]: how many positions count. means [names + 1, 3] float64: of the numbers, over all of them; own [3]:
    the same in a whole run of the other file.
    """

    def __init__(
        self,
        hybrids: Hybrids,
        texts: Sequence[CountedText],
        dtype: torch.dtype,
        where: torch.device,
        progress: Progress,
    ) -> None:
        self.hybrids, self.texts = hybrids, texts
        self.counts = torch.tensor([len(text.rows) for text in texts], dtype=torch.float64)
        self.answers: list[Tensor] = []
        self.kl_positions: list[Tensor] = []
        self.same: list[int] = []
        self._dtype, self._where, self._progress = dtype, where, progress
        self._scores: list[AnswerScores] = []
        self._sums: list[Tensor] = []
        self._own: list[Tensor] = []

    def walk(self) -> None:
        """Every hybrid of every text, and then the other file as a whole."""
        family, n = self.hybrids.one, len(self.hybrids.names)
        for number, text in enumerate(self.texts):
            finals = self.hybrids.finals(text.ids, text.rows, self._dtype, self._where)
            base = next(finals)
            scores = AnswerScores(text, base, family.n_vocab)
            found = [scores.of(base)[0]]
            for hybrid in finals:
                found.append(scores.of(hybrid)[0])
                self._progress.lap(
                    f"tensors ({sum(map(len, found)) - 1} of {n}, text {number + 1} of {len(self.texts)})"
                )
            numbers = torch.cat(found)
            whole, likeliest = scores.of(whole_run(self.hybrids.other, text.ids, text.rows, self._dtype, self._where))
            self._require_numbers(numbers)
            self.answers.append(scores.answers.cpu())
            self.kl_positions.append(whole[0, KL])
            self.same.append(int((likeliest[0] == scores.first).sum()))
            self._sums.append(numbers.sum(-1))
            self._own.append(whole[0].sum(-1))

    @property
    def means(self) -> Tensor:
        """[names + 1, 3]: the numbers of the one file, and with every tensor of the other so far."""
        return torch.stack(self._sums).sum(0) / self.counts.sum()

    @property
    def own(self) -> Tensor:
        return torch.stack(self._own).sum(0) / self.counts.sum()

    @property
    def by_prompt(self) -> Tensor:
        """The same of every prompt, [prompts, names + 1, 3]."""
        numbers = torch.tensor([text.prompt for text in self.texts])
        sums, counts = torch.stack(self._sums), self.counts
        chosen = [numbers == prompt for prompt in range(int(numbers.max()) + 1)]
        return torch.stack([sums[at].sum(0) / counts[at].sum() for at in chosen])

    def foretold(self) -> Tensor:
        """The moves of the mean logit and ln p to first order, [names, 2]."""
        total = torch.zeros(len(self.hybrids.names), 2, dtype=torch.float64)
        for text, answers, n in zip(self.texts, self.answers, self.counts, strict=True):
            at = answers[:, None].to(self._where)

            def means(logits: Tensor, at: Tensor = at) -> tuple[Tensor, Tensor]:
                return logits.gather(-1, at).mean(), logits.log_softmax(-1).gather(-1, at).mean()

            total += n * first_order(self.hybrids, text.ids, text.rows, means, self._dtype, self._where)
        return total / self.counts.sum()

    def without(self, kept: Collection[str]) -> Tensor:
        """The means [3] of the other file with these tensors of the one."""
        family = self.hybrids.mixed([name for name in self.hybrids.names if name not in kept])
        total = torch.zeros(3, dtype=torch.float64)
        for text in self.texts:
            base, mixed = (
                whole_run(each, text.ids, text.rows, self._dtype, self._where) for each in (self.hybrids.one, family)
            )
            total += AnswerScores(text, base, family.n_vocab).of(mixed)[0][0].sum(-1)
        return total / self.counts.sum()

    def _require_numbers(self, numbers: Tensor) -> None:
        if not bool(torch.isfinite(numbers).all()):
            wrong = (~torch.isfinite(numbers)).flatten(1).any(1).nonzero()[0, 0]
            with_it = f" with its {self.hybrids.names[int(wrong) - 1]}" if wrong else ""
            raise UserError(
                f"{self.hybrids.other.source.file.path}:{with_it} the prediction is no number; the file is damaged, or "
                "beyond this precision (--dtype float64)"
            )


def _texts(model: Model, prompts: Sequence[PromptLike], options: CompareTensorsOptions) -> list[CountedText]:
    if not prompts:
        raise UserError("there is no prompt; give at least one")
    if options.counted == "all":
        return every_position(model, prompts, options.tokens)
    target = None if options.target is None else token_named(model, options.target, "target")
    return last_positions(model, prompts, target)


def _term(hybrids: Hybrids, name: str, moves: Sequence[float], foretold: Sequence[float]) -> TensorTerm:
    a, b = (family.source.file.tensors[name] for family in (hybrids.one, hybrids.other))
    return TensorTerm(
        name=name,
        layer=hybrids.layers[name],
        part=part_of(name),
        type_one=a.type.name,
        type_other=b.type.name,
        bytes_one=a.nbytes,
        bytes_other=b.nbytes,
        logit=moves[LOGIT],
        ln_p=moves[LN_P],
        kl=moves[KL],
        first_logit=foretold[LOGIT],
        first_ln_p=foretold[LN_P],
    )


def _put_back(runs: _Runs, groups: Sequence[TensorGroup], kl: float, top: int) -> tuple[PutBack, ...]:
    """The groups that hurt most, each put back alone, and then all of them."""
    ranked = [group for group in sorted(groups, key=lambda group: -group.kl)[:top] if group.kl > 0]
    if 1 < len(ranked) < len(groups):
        ranked.append(together(ranked))
    found = []
    for group in ranked:
        after = runs.without(group.tensors).tolist()
        grows = group.bytes_one - group.bytes_other
        found.append(PutBack(group.name, group.tensors, group.types, after[KL], kl - after[KL], after[LN_P], grows))
    return tuple(found)


def _prompt(model: Model, runs: _Runs, number: int, given: PromptLike, speller: Speller) -> QuantisedPrompt:
    mine = [i for i, text in enumerate(runs.texts) if text.prompt == number]
    first, last = runs.by_prompt[number, 0].tolist(), runs.by_prompt[number, -1].tolist()
    text = runs.texts[mine[0]]
    named = len(text.rows) == 1 and text.rows[0] == len(text.ids) - 1
    return QuantisedPrompt(
        text=text_of(model, given, model.ids_of_any(given)),
        n_tokens=sum(len(runs.texts[i].ids) for i in mine),
        n_positions=sum(len(runs.texts[i].rows) for i in mine),
        answer=speller.piece(int(runs.answers[mine[0]][0])) if named else None,
        logit_one=first[LOGIT],
        logit_other=last[LOGIT],
        ln_p_one=first[LN_P],
        ln_p_other=last[LN_P],
        kl=last[KL],
        same=sum(runs.same[i] for i in mine),
    )
