"""What several views say in the same words: phrases of texts and tokens, which every view writes in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from ggufjac.analyses.common.questions import LIKELIEST, Question
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.judge.explain import Explanation
from ggufjac.analyses.lens.match import LensFacts
from ggufjac.analyses.options import LAYER
from ggufjac.readable import visible

#: Texts and tokens, one after the other.
Phrase: TypeAlias = "tuple[str | Piece, ...]"

#: The share of a state's entries that a scatter plot has room for; the others lie on its edge.
INSIDE = 0.98
#: What a logit is taken above, where that is no token.
OVER = {"likeliest": f"the {LIKELIEST} likeliest others", "mean": "the mean logit", "chance": "chance"}
BRIEFLY = {"likeliest": "others", "mean": "mean", "chance": "chance"}
#: What presets of rules do, in words.
RULES = {
    "detached": "frozen: norms, attention, gates",
    "gate": "frozen: norms, attention, and what gates let through",
    "half": "frozen: norms, attention, and half of each gated product",
    "lrp": "frozen: norms, half of each gated product, half of attention's probabilities and half of its values",
    "lrp-qk": "frozen: norms of the stream, half of each gated product, half of probabilities and half of values",
    "rlens": "frozen: norms, half of each gated product",
    "ordinary": "nothing frozen",
}
#: The arrays that the reconstructions of both Jacobians are drawn from.
RECONSTRUCTIONS = frozenset({"output", "detached.output", "ordinary.output"})


def question(asked: Question) -> Phrase:
    """The quantity that is attributed."""
    return _asked(asked, OVER)


def briefly(asked: Question) -> Phrase:
    """The same where it has been said already."""
    return _asked(asked, BRIEFLY)


def _asked(asked: Question, over: Mapping[str, str]) -> Phrase:
    target = asked.target.token
    if asked.against is not None:
        return target, " over ", asked.against.token
    if asked.above == "chance":
        return "ln p of ", target, " over chance"
    return ("the logit of ", target) if asked.above == "zero" else (target, f" over {over[asked.above]}")


def followed(e: Explanation) -> Phrase:
    """The number that is followed from exact arithmetic to llama.cpp."""
    return ("the logit of ", e.first) if e.other is None else (e.first, " over ", e.other)


def rules(name: str) -> str:
    """How the model was linearised."""
    said = RULES.get(name)
    return f"rules {name!r}" if said is None else f"{said} (rules {name!r})"


def held(name: str) -> str:
    """What rules hold, as a clause of its own."""
    said = RULES.get(name, "as the rules say")
    return f"{said.removeprefix('frozen: ')} frozen" if said.startswith("frozen: ") else said


def side(number: int) -> str:
    """A side of a comparison by its letter; by its number where there are more sides than letters."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def section(title: str, part: str) -> str:
    """The title of a section about one part of the layers."""
    return title if part == LAYER else f"{title} of {part}"


def alone(part: str) -> str:
    """The title of the section about the maps of single layers."""
    return "Each layer alone" if part == LAYER else f"{part} alone"


def output_of(part: str) -> str:
    """What leaves each layer, or what a part of it adds."""
    return "each layer's output" if part == LAYER else f"what {part} adds"


def map_of(part: str) -> str:
    """Where a map of the layers leads."""
    return "each layer" if part == LAYER else f"what {part} adds"


def part_called(part: str) -> str:
    """A part of a layer as one says it."""
    return {"attn": "attention", "mlp": "MLP"}.get(part, part)


def patched(part: str) -> str:
    """What of a layer is put into another run."""
    if part == "stream":
        return "what leaves the block"
    return f"what {'the MLP' if part == 'mlp' else part_called(part)} writes"


def lens_line(lens: LensFacts) -> str:
    """A lens in a line of a report's head."""
    parts = [f"{lens.n_prompts} texts", f"blocks {lens.layers[0]} to {lens.layers[-1]}"]
    if lens.rules:
        parts.insert(0, f"rules {lens.rules!r}")
    if lens.fit is not None:
        parts.append(f"fits (cosine {lens.fit:.2f})")
    elif lens.own:
        parts.append("of this very file")
    return f"{visible(lens.file)}  {', '.join(parts)}"
