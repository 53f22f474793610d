"""Further prompts that go on beside the first one."""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.analyses.common.tokens import Speller
from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.steer.writing import OtherPrompt, Writer, WrittenText
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of


def prompts_of(model: Model, options: SteerOptions) -> list[list[int]]:
    """The token ids of the further prompts."""
    return [model.ids_of(prompt) for prompt in options.more]


def others_of(
    model: Model,
    options: SteerOptions,
    further: Sequence[list[int]],
    writer: Writer,
    unsteered: Sequence[WrittenText],
    texts: Sequence[Sequence[WrittenText]],
    counted: tuple[int, ...],
    speller: Speller,
) -> tuple[OtherPrompt, ...]:
    """What they go on with; unsteered, texts: of all prompts, the first one among them."""
    return tuple(
        OtherPrompt(
            text_of(model, prompt, ids),
            writer.told(alone, counted, speller),
            tuple(writer.told(text, counted, speller) for text in steered),
        )
        for prompt, ids, alone, steered in zip(options.more, further, unsteered[1:], texts[1:], strict=True)
    )
