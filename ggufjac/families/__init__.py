"""The architectures that ggufjac can analyse, and the way from a file to its family."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ggufjac.errors import UserError
from ggufjac.families.base import Family
from ggufjac.families.gemma import Gemma
from ggufjac.families.gemma2 import Gemma2
from ggufjac.families.gemma3 import Gemma3
from ggufjac.families.gpt_oss import GptOss
from ggufjac.families.granite import Granite
from ggufjac.families.llama import Llama
from ggufjac.families.mistral3 import Mistral3
from ggufjac.families.olmo2 import Olmo2
from ggufjac.families.olmoe import Olmoe
from ggufjac.families.phi3 import Phi3
from ggufjac.families.qwen import Qwen2, Qwen2MoE, Qwen3, Qwen3MoE
from ggufjac.families.smollm3 import SmolLM3
from ggufjac.families.source import Source

if TYPE_CHECKING:
    from ggufjac.reader import GGUFFile

FAMILIES: tuple[type[Family], ...] = (
    Llama,
    Mistral3,
    Qwen2,
    Qwen2MoE,
    Qwen3,
    Qwen3MoE,
    Gemma,
    Gemma2,
    Gemma3,
    Phi3,
    Olmo2,
    Olmoe,
    Granite,
    SmolLM3,
    GptOss,
)

ARCHITECTURES: dict[str, type[Family]] = {name: family for family in FAMILIES for name in family.architectures}


def family_of(file: GGUFFile) -> Family:
    """The family of an open file, read and checked. Raises UserError for an architecture that is not supported."""
    name = file.architecture
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, ARCHITECTURES, 1)
        hint = f" (is it a kind of {close[0]}?)" if close else ""
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(f"{file.path}: the architecture {name!r} is not supported{hint}; supported are: {known}")
    return ARCHITECTURES[name](Source(file))


__all__ = ["ARCHITECTURES", "FAMILIES", "Family", "family_of"]
