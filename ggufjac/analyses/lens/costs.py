"""What fitting and reading lenses does, step by step, before it does it: what `plan` adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ggufjac.analyses.lens.options import CORPUS, OWN, USUAL, LensFitOptions, LensReadOptions
from ggufjac.analyses.steps import Sizes, Work

#: What is planned: a fit, a reading, and what the texts of a lens that is not fitted add to it.
FIT, READ, TEXTS = "lens-fit", "lens-read", "lens-texts"
#: How sweeps of lenses are called in plans.
JACOBIANS, OWN_MAP, OF_TEXTS = "Jacobians of texts", "own map", "states through texts"


@dataclass(frozen=True, kw_only=True)
class PlannedReading(LensReadOptions):
    """lenses: the names of those that are read with; read: of how many positions (None: of all)."""

    lenses: tuple[str, ...] = USUAL
    read: int | None = None

    @classmethod
    def of(cls, options: LensReadOptions, lenses: tuple[str, ...], n_tokens: int) -> PlannedReading:
        """A reading of a prompt of so many tokens with these options."""
        given = {item.name: getattr(options, item.name) for item in fields(LensReadOptions)}
        return cls(**given, lenses=lenses, read=min(n_tokens, options.positions or n_tokens))


def columns_pay(states: Mapping[int, int], last: int, d: int) -> bool:
    """Whether so many states of every block, a column each from its block up, pass fewer blocks than the last stream's
    d columns do on their way down to the lowest one."""
    return passed(states, last) < d * (last - min(states))


def passed(states: Mapping[int, int], last: int) -> int:
    """Columns times blocks, of so many states of every block."""
    return sum(n * (last - layer) for layer, n in states.items())


def below(options: LensReadOptions, n_layer: int, n_states: int) -> dict[int, int]:
    """How many states are read of every block but the last, whose states need no sweep."""
    layers = range(n_layer) if options.layers is None else sorted(set(options.layers))
    return {layer: n_states for layer in layers if layer < n_layer - 1}


def fit_works(sizes: Sizes, options: LensFitOptions) -> Iterator[Work]:
    """Of texts as long as what is planned."""
    yield from _jacobians("fitting", sizes, options.prompts, min(options.layers or (0,)), options)


def read_works(sizes: Sizes, options: PlannedReading) -> Iterator[Work]:
    """Of one prompt, but for what a lens's texts take."""
    n = options.read or sizes.n_tokens
    yield Work("forward pass", "coefficient pass", "pass")
    states = below(options, sizes.n_layer, n)
    for name in options.lenses:
        lap = f"lens {name}"
        if name == OWN and states:
            yield _columns(lap, OWN_MAP, sizes, states, 1)
        cells = n * (sizes.n_layer if options.layers is None else len(set(options.layers)))
        yield Work(lap, "decoding", "decode", cells, tells=False)


def texts_works(sizes: Sizes, options: PlannedReading) -> Iterator[Work]:
    """Of the texts of a lens that is not fitted, whose length is planned."""
    lap, states = f"lens {CORPUS}", below(options, sizes.n_layer, options.read or 1)
    if not states:
        return
    if columns_pay(states, sizes.n_layer - 1, sizes.d):
        yield Work(lap, "coefficients of texts", "pass", sweeps=options.prompts)
        yield _columns(lap, OF_TEXTS, sizes, states, options.prompts, _span(sizes, options))
    else:
        yield from _jacobians(lap, sizes, options.prompts, min(states), options)


def _columns(lap: str, name: str, sizes: Sizes, states: Mapping[int, int], times: int, share: float = 1.0) -> Work:
    columns, blocks = sum(states.values()), passed(states, sizes.n_layer - 1)
    share *= blocks / (columns * sizes.n_layer)
    return Work(lap, name, "forward", columns, times, share=share, passing=times * blocks)


def _jacobians(
    lap: str, sizes: Sizes, n: int, lowest: int, options: LensFitOptions | LensReadOptions
) -> Iterator[Work]:
    blocks, d = sizes.n_layer - 1 - lowest, sizes.d
    yield Work(lap, "coefficients of texts", "pass", sweeps=n)
    share = blocks / sizes.n_layer * _span(sizes, options)
    yield Work(lap, JACOBIANS, "back", d, n, share=share, passing=n * d * blocks, numbers=blocks * d)


def _span(sizes: Sizes, options: LensFitOptions | LensReadOptions) -> float:
    """The share of a text's positions that count."""
    return max(1, sizes.n_tokens - 1 - options.skip) / sizes.n_tokens


#: By the name of what is planned.
WORKS: dict[str, Callable[[Sizes, Any], Iterator[Work]]] = {FIT: fit_works, READ: read_works, TEXTS: texts_works}


def glance(command: str, n_layer: int, d: int, n_tokens: int, options: LensFitOptions | PlannedReading) -> int:
    """About how many columns pass all blocks, by the sizes alone."""
    if isinstance(options, LensFitOptions):
        return options.prompts * d
    states = below(options, n_layer, options.read or n_tokens)
    if not states or (command == READ and OWN not in options.lenses):
        return 0
    blocks = passed(states, n_layer - 1)
    if command == TEXTS:
        return options.prompts * min(-(-blocks // n_layer), d)
    return -(-blocks // n_layer)
