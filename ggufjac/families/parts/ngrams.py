"""What a layer adds for the n-grams that end at a token: rows of a table, which a hash of the n-grams names.

llama.cpp calls it PLE; formulas as in its qwen4exp.cpp. The rows come from the tokens' numbers, so what is added is a
constant of the map but for its gates, which the state decides: coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Bias, Convolve, Operator
from ggufjac.quants.tensor import QuantTensor


@dataclass(frozen=True)
class NGrams:
    """The rows of a table [n, m] that stand for the n-grams of a text, for each n = 2 ... N the same number of them.

    An n-gram's number is t_0 f_0 xor ... xor t_{n-1} f_{n-1} (mod 2^64), t_0 the token itself and t_j the one j places
    before it; factors f [N]. Row h of a token is that number mod sizes[h], plus starts[h]: first those of the 2-grams.
    No n-gram reaches over a token `end`: it and all before it count as `end`, and so does what is before the text.
    """

    table: QuantTensor
    factors: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    end: int

    def rows(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the rows of tokens [..., T]: [..., T, len(sizes)]."""
        per_length = len(self.sizes) // (len(self.factors) - 1)
        mixed = tokens.astype(np.uint64) * np.uint64(self.factors[0])
        ended, found = np.zeros(tokens.shape, np.bool_), []
        for j in range(1, len(self.factors)):
            before = np.full_like(tokens, self.end)
            before[..., j:] = tokens[..., :-j]
            ended |= before == self.end
            mixed = mixed ^ np.where(ended, self.end, before).astype(np.uint64) * np.uint64(self.factors[j])
            for h in range((j - 1) * per_length, j * per_length):
                found.append(mixed % np.uint64(self.sizes[h]) + np.uint64(self.starts[h]))
        return np.stack(found, -1).astype(np.int64)

    def of(self, run: Run, like: Tensor) -> Tensor:
        """The rows of the run's tokens side by side [..., T, len(sizes) m], as precise as a value and where that is."""
        rows = self.rows(run.tokens.cpu().numpy())
        return self.table.gather(rows.flatten(), like.dtype).reshape(*rows.shape[:-1], -1).to(like)


@dataclass(frozen=True)
class NGramWrite(Differentiated):
    """X_h + V_h + silu(conv(norm_written(V)))_h for every plane X_h of a state, with V_h = gate_h value(e).

    e: what the table has for the n-grams. gate_h = sigmoid(s / sqrt|s|) with s = norm_key(key(e))_h . norm_query(X)_h /
    sqrt d, where |s| counts as 1e-6 at least. The convolution has a few taps for each channel, kernel [planes d, K],
    `step` positions apart.
    """

    ngrams: NGrams
    key: Linear
    value_of: Linear
    norm_key: Part
    norm_query: Part
    norm_written: Part
    kernel: Tensor
    planes: int
    step: int

    mixes = True

    @property
    def narrows(self) -> bool:
        """The state goes on whole, so it is built at every position."""
        return False

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        e, planes = self.ngrams.of(run, x), (self.planes, -1)
        key = self.norm_key.value(run, self.key.value(run, e)).unflatten(-1, planes)
        query = self.norm_query.value(run, run.freeze(x)).unflatten(-1, planes)
        s = (key * query).sum(-1, keepdim=True) / math.sqrt(key.shape[-1])
        gate = (s.sign() * s.abs().clamp(min=1e-6).sqrt()).sigmoid()
        written = (gate * self.value_of.value(run, e)[..., None, :]).flatten(-2)
        u = Convolve(self._spread_kernel().to(x)).apply(self.norm_written.value(run, written))
        op = Bias(written + u * run.freeze(u, "activation").sigmoid(), self.ngrams.table.name)
        return op, op.apply(x, 1.0)

    def _spread_kernel(self) -> Tensor:
        """The taps with zeros between them, [planes d, (K - 1) step + 1]."""
        n, taps = self.kernel.shape
        return F.pad(self.kernel[..., None], (0, self.step - 1)).reshape(n, -1)[:, : (taps - 1) * self.step + 1]
