"""What happens when a token's vector, or a singular component, is taken away: to the linear map, and to the model.

The linear map predicts it exactly as it explains the logit: without token t the final state is y - J_t x_t, without
component i it is y - sigma_i u_i (v_i . x). The model itself is run on the changed vectors, with x_t = 0 or with v_i
projected out of x, and once more on the prompt without the token; then norms, attention and gates change as well,
which the linear map holds fixed. Between the two stands the derivative, from the ordinary Jacobian.

Where the map is that of llama.cpp's own run, the model on shorter prompts is llama.cpp, against its own prediction.
Changed vectors and derivatives are those of exact arithmetic, against the prediction of exact arithmetic.

What is followed is ln p of one token: logits themselves may all move together, which changes no prediction. Beside all
of them stands what the most faithful account of the prediction gives to each token (ggufjac.analyses.common.account).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.answer.phrase import Phrase, accounted, phrase_changes, phrase_map
from ggufjac.analyses.common.account import Account, accounts_of
from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.common.predictions import Prediction, Triplet
from ggufjac.analyses.common.result import MapResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.options import RANKING, AblateOptions, faithful_rules
from ggufjac.chat.prompt import PromptLike, Turn, contents_first
from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model
from ggufjac.network.followed.follow import runner
from ggufjac.network.variants import WholePrompt, logits_at

#: How many tokens are taken away, one at a time, where it is not said which.
TOKENS = 32


@dataclass(frozen=True)
class AblationOutcome:
    """What is predicted then. change: of the target's ln p, in nats; logit: the change of its logit; probability: the
    target's; first: the token with the largest logit; kl: KL(the whole prompt's prediction || this one) in nats. NaN
    where the model has no finite answer.
    """

    change: float
    logit: float
    probability: float
    first: Piece
    kl: float


@dataclass(frozen=True)
class TokenAblation:
    """One input token taken away.

    position: from 0. linear: its term taken off the linear map's output; derivative: by how much the target's ln p
    changes to first order; zeroed: the model with the token's vector set to 0; left_out: the model on the prompt
    without the token (None where nothing would be left of it).
    """

    position: int
    token: Piece
    linear: AblationOutcome
    derivative: float
    zeroed: AblationOutcome
    left_out: AblationOutcome | None


@dataclass(frozen=True)
class ComponentAblation:
    """Components `first` to `last` of the combined map, counted from 1, taken away together.

    triplet: the last of them. linear: without them in the map; derivative: the change to first order; projected: the
    model with their right vectors projected out of its inputs.
    """

    first: int
    last: int
    triplet: Triplet
    linear: AblationOutcome
    derivative: float
    projected: AblationOutcome


@dataclass(frozen=True)
class PhraseChange:
    """By how much ln p of a target of several tokens changes without one token of the prompt: with its vector set to 0,
    and on the prompt without it (None where nothing would be left)."""

    position: int
    zeroed: float
    left_out: float | None


@dataclass(frozen=True, kw_only=True)
class Ablation(MapResult):
    """Parts of one prompt taken away, one at a time.

    target: the token whose ln p is followed. account: what every token gives to it by the most faithful rules, by which
    the tokens were chosen where none were named. tokens: those that were taken away; n_tokens: of how many; components:
    leading triplets, each alone and all together.
    """

    kind: ClassVar[str] = "ablation"

    target: Prediction
    account: Account
    tokens: tuple[TokenAblation, ...]
    n_tokens: int
    phrase: Phrase | None = None  # a target of several tokens as a whole; the rest is about its first one
    phrase_changes: tuple[PhraseChange, ...] = ()
    components: tuple[ComponentAblation, ...]


def ablate(
    model: Model, prompt: PromptLike, options: AblateOptions | None = None, progress: Progress = silent
) -> Ablation:
    """Take tokens and components of one prompt away. Raises UserError for tokens and positions that do not exist."""
    options = options or AblateOptions()
    subject = Subject(model, prompt, options, progress)
    ids = subject.ids
    wrong = [t for t in options.tokens if not 0 <= t < len(ids)]
    if wrong:
        raise UserError(f"there is no token at position {wrong[0]}; the prompt has {len(ids)}, from 0")

    spelled = () if options.target is None else subject.spelled(options.target)
    asked = spelled[0] if spelled else None
    subject.lap("account")
    (account,) = accounts_of(subject, asked, (RANKING,))
    phrase, changes = _phrase(subject, spelled, options)
    target = subject.target(asked)
    linear = subject.linear
    subject.lap("linear map")
    functional, _ = linear.logit_functional(target.token.id)
    terms = linear.attribute(functional[None])[0, :-1]
    positions = _positions(account.terms if phrase is None else phrase.terms, subject.turns, options)
    reconstruction = linear.reconstruction_error()
    svd = linear.svd(options.components, "combined", seed=options.seed)
    groups = [(i, i) for i in range(len(svd.S))] + ([(0, len(svd.S) - 1)] if len(svd.S) > 1 else [])
    lost, lost_outputs = _lost(linear, svd, positions, groups)
    frozen = linear.head.apply((linear.output - lost_outputs)[:, None], 1.0)[:, 0]

    subject.lap("derivative")
    ordinary = subject.linearized(replace(options, rules="ordinary", path=None, run="exact"), linear.held_bytes)
    gradient = ordinary.rmatmat(ordinary.surprise(target.token.id)[None])[0]
    slopes = -(lost * gradient).sum((1, 2))
    subject.lap("model with parts of its input taken away")
    whole = WholePrompt(model.family, torch.tensor(ids), linear.inputs, options.memory, linear.store, subject.passed)
    projected = linear.inputs - lost[len(positions) :]
    projections = logits_at(model.family, ids, projected, options.memory, linear.store, subject.passed)
    changed = torch.cat((whole.zeroed(positions)[:, 0], projections))
    unchanged = linear.logits
    if options.run != "exact":  # on changed vectors there is only exact arithmetic, which is held against itself
        unchanged = logits_at(model.family, ids, linear.inputs[None], options.memory, linear.store)[0]
    subject.lap("model on shorter prompts")
    shorter = _shorter(subject, whole, positions, options)

    subject.lap("decoding")
    judge, judge_model = (_Judge(logits, target.token.id, subject.speller) for logits in (linear.logits, unchanged))
    by_map, by_model = [judge(row) for row in frozen], [judge_model(row) for row in changed]
    triplets = subject.combined_triplets(functional, svd)
    arrays = {
        "positions": torch.tensor(positions),
        "terms": terms,
        "account": torch.tensor(account.terms),
        "logits": linear.logits,
        "logits.linear": frozen,
        "logits.changed": changed,
        **({} if shorter is None else {"logits.left_out": shorter}),
        "derivatives": slopes,
    }
    return Ablation(
        **subject.map_facts(reconstruction),
        target=target,
        account=account,
        tokens=tuple(
            TokenAblation(
                position=t,
                token=subject.pieces[t],
                linear=by_map[i],
                derivative=float(slopes[i]),
                zeroed=by_model[i],
                left_out=None if shorter is None else judge(shorter[i]),
            )
            for i, t in enumerate(positions)
        ),
        n_tokens=len(ids),
        phrase=phrase,
        phrase_changes=changes,
        components=tuple(
            ComponentAblation(a + 1, b + 1, triplets[b], by_map[i], float(slopes[i]), by_model[i])
            for i, (a, b) in enumerate(groups, len(positions))
        ),
        arrays=subject.arrays(**arrays),
    )


def _lost(
    linear: DetachedMap, svd: SVD, positions: Sequence[int], groups: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """What is taken away of the inputs [n, T, d], token by token and then group by group of components, and what the
    map makes of it [n, d]."""
    reads = torch.einsum("ktn,tn->k", svd.V, linear.inputs)
    inputs = [_only(linear.inputs, t) for t in positions]
    inputs += [torch.einsum("k,ktn->tn", reads[i : j + 1], svd.V[i : j + 1]) for i, j in groups]
    lost = torch.stack(inputs)
    return lost, torch.cat((linear.matmat(lost[: len(positions)]), _written(svd.S * reads, svd.U, groups)))


def _phrase(
    subject: Subject, spelled: tuple[int, ...], options: AblateOptions
) -> tuple[Phrase | None, tuple[PhraseChange, ...]]:
    """The account of a target of several tokens, by which positions are chosen, and what it loses with each of them."""
    if len(spelled) < 2:
        return None, ()
    rules = faithful_rules(RANKING, options.run)
    linear = phrase_map(subject, spelled, rules)
    phrase = accounted(subject, linear, spelled)
    if options.run != "exact":
        linear = phrase_map(subject, spelled, run="exact")
    positions = _positions(phrase.terms, subject.turns, options)
    zeroed, left_out = phrase_changes(subject, linear, spelled, positions)
    gone = left_out or [None] * len(positions)
    return phrase, tuple(map(PhraseChange, positions, zeroed, gone))


def _positions(terms: Sequence[float], turns: Sequence[Turn], options: AblateOptions) -> list[int]:
    return sorted(options.tokens or _largest(terms, turns))


def _largest(terms: Sequence[float], turns: Sequence[Turn]) -> list[int]:
    """The positions with the largest terms, TOKENS at most; of a chat those of its messages come first."""
    sizes = contents_first([abs(term) for term in terms], turns)
    return sorted(range(len(terms)), key=lambda t: -sizes[t])[:TOKENS]


def _only(inputs: Tensor, position: int) -> Tensor:
    """The inputs of one position, 0 at the others."""
    alone = torch.zeros_like(inputs)
    alone[position] = inputs[position]
    return alone


def _written(sizes: Tensor, u: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
    """What each group of components writes, [len(groups), d]: the sum of size u over its members."""
    return torch.stack([sizes[i : j + 1] @ u[i : j + 1] for i, j in groups])


def _shorter(subject: Subject, whole: WholePrompt, positions: Sequence[int], options: AblateOptions) -> Tensor | None:
    """The logits of the prompt without each of the positions, [n, n_vocab]; None where it has only one token."""
    ids = subject.ids
    if len(ids) < 2:
        return None
    if options.run == "llama.cpp":
        shorter = [[*ids[:t], *ids[t + 1 :]] for t in positions]
        with runner(subject.model.family, len(ids), options.llama) as llama:
            return torch.stack([torch.from_numpy(llama.logits(rest)) for rest in shorter])
    return whole.left_out(positions)[:, 0]


class _Judge:
    """Turns logits into what they say, beside those of the whole prompt."""

    def __init__(self, whole: Tensor, target: int, speller: Speller) -> None:
        self._logits = whole.cpu().double()
        self._target = target
        self._speller = speller

    def __call__(self, logits: Tensor) -> AblationOutcome:
        now = logits.cpu().double()
        before, after = self._logits.log_softmax(-1), now.log_softmax(-1)
        return AblationOutcome(
            change=float(after[self._target] - before[self._target]),
            logit=float(now[self._target] - self._logits[self._target]),
            probability=float(after[self._target].exp()),
            first=self._speller.piece(int(now.argmax())),
            kl=kl_divergence(self._logits, now),
        )
