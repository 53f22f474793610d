"""Linearisation rules: what of a network is a coefficient and what is live, at the values of one prompt.

Every block is y = f(x). A linear account of it at a base point is a choice, part by part, and one record of choices
says all of them. Parts consult it where they make their operators; values do not depend on it.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

from ggufjac.errors import UserError

Norm: TypeAlias = Literal["frozen", "tangent"]
Activation: TypeAlias = Literal["ratio", "tangent"]
Product: TypeAlias = Literal["up", "gate", "half", "tangent"]
Attention: TypeAlias = Literal["values", "lrp", "tangent"]
Coefficients: TypeAlias = Literal["frozen", "tangent"]


@dataclass(frozen=True)
class Rules:
    """How each kind of part is linearised; "tangent" is always its derivative.

    norm: the scale is frozen. qk_norm: the same of the norms of queries and keys, which matter where attention's
    probabilities are live (frozen, what a query or key is long by is credited, which its norm takes away). activation
    f(u): the ratio f(u)/u is frozen. product a(g) b(u), a gated MLP: u, g, or half of each is live ("tangent": both in
    full), the activation by its own rule. attention: values are live and the probabilities frozen ("values"); or half
    through the values and half through the probabilities, of which queries and keys have half each ("lrp", Achtibat et
    al., arXiv 2402.05602). coefficients: routers' weights, decays and gates of recurrences, sigmoid gates of attention;
    which experts are chosen is fixed either way.
    """

    norm: Norm = "frozen"
    qk_norm: Norm = "frozen"
    activation: Activation = "ratio"
    product: Product = "up"
    attention: Attention = "values"
    coefficients: Coefficients = "frozen"

    @property
    def reconstructs(self) -> bool:
        """Whether the map and its constant give the output itself."""
        return replace(self, qk_norm=DETACHED.qk_norm) == self.exact

    @property
    def exact(self) -> Rules:
        """The rules that reconstruct which are the nearest to these."""
        return Rules(product="half" if self.product == "tangent" else self.product)

    def __str__(self) -> str:
        """The name of the preset, or of the nearest one and what differs from it."""
        names = {rules: name for name, rules in PRESETS.items()}
        if self in names:
            return names[self]
        return ",".join(f"{name}={value}" for name, value in asdict(self).items() if value != getattr(DETACHED, name))


DETACHED = Rules()
PRESETS: dict[str, Rules] = {
    "detached": DETACHED,
    "gate": Rules(product="gate"),
    "half": Rules(product="half"),
    "lrp": Rules(product="half", attention="lrp"),
    "lrp-qk": Rules(product="half", attention="lrp", qk_norm="tangent"),
    "rlens": Rules(product="half", attention="tangent"),
    "ordinary": Rules("tangent", "tangent", "tangent", "tangent", "tangent", "tangent"),
}


def choices() -> dict[str, tuple[str, ...]]:
    """What every rule can be, by its name."""
    hints = get_type_hints(Rules)
    return {item.name: get_args(hints[item.name]) for item in fields(Rules)}


def rules_called(name: str) -> Rules:
    """The rules of a preset, or of "product=half,attention=lrp"; what is not named is as in `detached`, or as in a
    preset that is named first. Raises UserError for what there is not."""
    there, made = choices(), DETACHED
    given: dict[str, Any] = {}
    for i, word in enumerate(part.strip() for part in name.split(",")):
        rule, separator, choice = (part.strip() for part in word.partition("="))
        if i == 0 and not separator and word in PRESETS:
            made = PRESETS[word]
        elif separator and choice in there.get(rule, ()):
            given[rule] = choice
        else:
            raise UserError(_unknown(word, rule, there if separator else {}))
    return replace(made, **given)


def _unknown(word: str, rule: str, there: dict[str, tuple[str, ...]]) -> str:
    if rule in there:
        return f"rules: {word!r} is not there; {rule} can be {', '.join(there[rule])}"
    presets = ", ".join(PRESETS)
    kinds = "; ".join(f"{name}={'|'.join(values)}" for name, values in choices().items())
    close = difflib.get_close_matches(rule, [*PRESETS, *choices()], 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"rules: there is no {word!r}{hint}; there are {presets}, or one by one {kinds}"
