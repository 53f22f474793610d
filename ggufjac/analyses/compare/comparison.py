"""Prompts, models and quantisations of one model beside each other: what their maps share, and what moved.

Every model meets every prompt; each such side is one linear map. Two sides are compared by the subspaces of their
leading singular vectors where sizes agree and by the tokens that these decode to in any case, by what they predict,
and, where the prompt has the same tokens, by what each token gives to the same logit: terms that add up on both sides,
so that their differences add up to the difference of the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.stopwatch import Progress, Stopwatch, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.targets import token_named
from ggufjac.analyses.compare.changes import Asked, Change, change, overlaps, word_overlap
from ggufjac.analyses.compare.sides import Bench, ComparedSide, Worked
from ggufjac.analyses.options import CompareOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of
from ggufjac.quants.device.choice import described

#: A number for every pair of sides.
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Comparison(Result):
    """Sides by model, then by prompt, and their changes: from the first model to each other one on the same prompt, and
    on the first model from the first prompt to each other one.

    run: whose computation; top: how many triplets of each side. left, written, kl: of every pair of sides, as in a
    change, in the order of the sides; kl[i][j] is KL(i || j). device, notes: as for the
    analyses of one prompt.
    """

    kind: ClassVar[str] = "comparison"
    schema_version: ClassVar[int] = 2

    models: tuple[ModelFacts, ...]
    prompts: tuple[str, ...]
    dtype: str
    rules: str
    seed: int
    run: str
    top: int
    sides: tuple[ComparedSide, ...]
    changes: tuple[Change, ...]
    left: Matrix
    written: Matrix
    kl: Matrix
    seconds: dict[str, float]
    device: str | None = None
    notes: tuple[str, ...] = ()


def compare(
    models: Sequence[Model],
    prompts: Sequence[PromptLike],
    options: CompareOptions | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Compare every prompt on every model. Raises UserError where there are not two sides to compare, for a target that
    does not exist, and for prompts that do not fit a model.
    """
    options = options or CompareOptions()
    if len(models) * len(prompts) < 2:
        raise UserError("one prompt on one model is nothing to compare; give another model or another prompt")
    followed = None if options.target is None else token_named(models[0], options.target, "target")
    watch = Stopwatch(progress)
    watch.lap("predictions")
    benches = [Bench(model, options, progress) for model in models]
    places = [
        _PlannedSide(benches, m, p, prompt, followed) for m in range(len(models)) for p, prompt in enumerate(prompts)
    ]
    pairs = [(_reference(places, place), i) for i, place in enumerate(places) if i > 0]
    questions = [_questions(places[i], places[j]) for i, j in pairs]
    sides = []
    for i, place in enumerate(places):
        watch.lap(f"side {i + 1} of {len(places)}")
        asked = [token for pair, found in zip(pairs, questions, strict=True) for token in _asked_of(i, pair, found)]
        targets = list(dict.fromkeys((place.first, *asked)))
        sides.append(
            place.bench.work((place.model, place.prompt), place.subject(), options.top, targets, place.followed)
        )
    watch.lap("comparing")
    shapes = [(model.file.architecture, _shapes(model)) for model in models]
    changes = tuple(
        change((i, j), sides[i], sides[j], asked, shapes[places[i].model] == shapes[places[j].model])
        for (i, j), asked in zip(pairs, questions, strict=True)
    )

    def kl(i: int, j: int) -> float:
        comparable = sides[i].bench.same_vocabulary(sides[j].bench)
        return kl_divergence(sides[i].logits, sides[j].logits) if comparable else math.nan

    return Comparison(
        models=tuple(facts_of(model.file) for model in models),
        prompts=tuple(text_of(models[0], p, models[0].ids_of(p)) for p in prompts),
        dtype=options.dtype_name,
        device=described(torch.device(options.device), options.dtype_name),
        rules=str(options.linearisation),
        seed=options.seed,
        run=options.run,
        top=options.top,
        sides=tuple(worked.side for worked in sides),
        changes=changes,
        left=_matrix(len(sides), lambda i, j: overlaps(sides[i].svd.U, sides[j].svd.U)[0]),
        written=_matrix(len(sides), lambda i, j: word_overlap(sides[i], sides[j], "written")),
        kl=_matrix(len(sides), kl),
        seconds=watch.stop(),
        notes=_notes(places),
        arrays={name: array for i, worked in enumerate(sides) for name, array in _arrays(i, worked)},
    )


def _notes(places: Sequence[_PlannedSide]) -> tuple[str, ...]:
    """What a reader should know; of several models whose it is, where it is not everybody's."""
    found: dict[str, list[str]] = {}
    names = [place.subject().model.file.path.name for place in places]
    for place, name in zip(places, names, strict=True):
        for note in place.subject().notes:
            found.setdefault(note, []).append(name)
    return tuple(
        note if len(whose) == len(names) else f"{', '.join(dict.fromkeys(whose))}: {note}"
        for note, whose in found.items()
    )


class _PlannedSide:
    """A side before it is worked: first is the likeliest next token, followed the one that is followed, by their ids in
    its own vocabulary.
    """

    def __init__(self, benches: Sequence[Bench], model: int, prompt: int, text: PromptLike, target: int | None) -> None:
        self.model, self.prompt, self._text = model, prompt, text
        self.bench = benches[model]
        self.first = int(self.subject().linear.logits.argmax())
        self.followed = None if target is None else benches[0].translate(target, self.bench)

    def subject(self) -> Subject:
        """The prompt, its map made anew: the maps of all sides at once would take too much memory."""
        return self.bench.subject(self._text)


def _reference(places: Sequence[_PlannedSide], place: _PlannedSide) -> int:
    """The side that one is compared with: the same prompt on the first model, else the first prompt on that."""
    prompt = place.prompt if place.model else 0
    return next(i for i, other in enumerate(places) if (other.model, other.prompt) == (0, prompt))


def _questions(one: _PlannedSide, other: _PlannedSide) -> list[Asked]:
    """The tokens whose logits are compared, by their ids on both sides: the followed one and both predictions."""
    asked: list[Asked] = [
        (one.followed, other.followed),
        (one.first, one.bench.translate(one.first, other.bench)),
        (other.bench.translate(other.first, one.bench), other.first),
    ]
    # one text can have several tokens: a pair is the same question where it shares a token with one before it
    distinct: list[Asked] = []
    for a, b in asked:
        known = any((a is not None and a == x) or (b is not None and b == y) for x, y in distinct)
        if not known and (a, b) != (None, None):
            distinct.append((a, b))
    return distinct


def _asked_of(side: int, pair: tuple[int, int], questions: Sequence[Asked]) -> list[int]:
    """The tokens of a pair's questions that one of its sides has to answer; none for any other side."""
    return [
        token
        for question in questions
        for of, token in zip(pair, question, strict=True)
        if of == side and token is not None
    ]


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {name: info.plain_shape for name, info in model.file.tensors.items()}


def _matrix(n: int, of: Callable[[int, int], float]) -> Matrix:
    return tuple(tuple(of(i, j) for j in range(n)) for i in range(n))


def _arrays(i: int, worked: Worked) -> list[tuple[str, Tensor]]:
    """The arrays of side i; terms [m, T + 1] are those of the logits of `targets` [m]."""
    return [
        (f"{i}.tokens", torch.tensor(worked.ids)),
        (f"{i}.output", worked.output),
        (f"{i}.logits", worked.logits),
        (f"{i}.U", worked.svd.U),
        (f"{i}.S", worked.svd.S),
        (f"{i}.V", worked.svd.V),
        (f"{i}.targets", torch.tensor(list(worked.terms))),
        (f"{i}.terms", torch.stack(list(worked.terms.values()))),
    ]
