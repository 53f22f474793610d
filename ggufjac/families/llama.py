"""llama: Llama 1 to 3, Mistral, Ministral 8B, Mixtral, SmolLM and everything else that GGUF files call `llama`.

As llama.cpp has it: the head size may differ from n_embd / n_head (Ministral); biases are used where the file has them;
Mixtral's experts are weighted by the softmax over all of them, divided by the sum over the chosen ones. llama.cpp reads
no sliding window for this architecture, so Mistral 7B v0.1 attends to everything.
"""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, Rope


class Llama(Family):
    """Llama 1-3, Mistral, Mixtral, SmolLM and others: pre-norm blocks, grouped-query attention with RoPE (plain,
    linear, YaRN, LongRoPE or Llama 3's scaling), SwiGLU, optional biases, optional experts.

    The q and k rows of these files are stored for adjacent RoPE pairs.
    """

    architectures = ("llama",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        mlp = self.experts(i, self.routing(i), self.n_ff(i)) if self.n_expert else self.gated_mlp(i)
        return self.block(i, self.attention(i), mlp)

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.rope_freqs(i))
