"""codeshell: CodeShell 7B, whose files may hold one matrix for embeddings and head, under the head's name."""

from __future__ import annotations

from ggufjac.families.starcoder2 import StarCoder2
from ggufjac.quants.tensor import QuantTensor


class CodeShell(StarCoder2):
    """CodeShell 7B: LayerNorm and biases everywhere, shared keys and values, RoPE, a plain GELU."""

    architectures = ("codeshell",)

    def _embedding(self, name: str = "token_embd.weight") -> QuantTensor:
        return super()._embedding(name if self.source.has(name) else "output.weight")
