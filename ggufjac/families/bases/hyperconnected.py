"""Families with hyper-connections: several planes of the stream (`parts.hyper`)."""

from __future__ import annotations

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Copies, Named, Part, RMSNorm, Sequential
from ggufjac.families.parts.hyper import HyperResidual, Merge, Mixing, NamedPlanes, Weights

#: Of Sinkhorn's algorithm; published models have 20.
MOST_ROUNDS = 1000


class HyperConnected(Family):
    """How many planes the file gives, what their weights are computed from, and layers that mix them as well."""

    @property
    def planes(self) -> int:
        return self.source.count("hyper_connection.count")

    @property
    def leaving(self) -> int:
        return self.planes * self.d

    @property
    def sinkhorn_rounds(self) -> int:
        """How often the weights of a mixture are divided by their sums. Raises UserError for more than would end."""
        key = "hyper_connection.sinkhorn_iterations"
        rounds = self.source.count(key)
        if rounds > MOST_ROUNDS:
            raise UserError(f"{self.source.file.path}: {key} is {rounds}; at most {MOST_ROUNDS} are computed here")
        return rounds

    def plain_norm(self) -> RMSNorm:
        """The norm of a whole state, without weights."""
        return RMSNorm(None, self.source.number("attention.layer_norm_rms_epsilon"))

    def mixing_block(self, i: int, mixer: Part, mlp: Part, *, end: str = "l_out") -> Part:
        """Both read a sum of the planes, normalised, and are written to planes that are mixed at the same time.

        end: llama.cpp's name for the planes that leave the block.
        """
        b, n = f"blk.{i}.", self.planes
        attn_norm = Named("attn_norm", self.norm(b + "attn_norm", self.d))
        ffn_norm = Named("ffn_norm", self.norm(b + "ffn_norm", self.d))
        return Sequential(
            *([Copies(n)] if i == 0 else []),
            NamedPlanes("hc_attn_post", n, self.connected("attn", b + "hc_attn", attn_norm, mixer)),
            NamedPlanes(end, n, self.connected("mlp", b + "hc_ffn", ffn_norm, Named("ffn_out", mlp))),
        )

    def connected(self, name: str, tensors: str, *parts: Part) -> HyperResidual:
        """What a block writes to the planes, with the weights in the tensors of this name."""
        source, n = self.source, self.planes
        whole = self.linear(f"{tensors}_fn", (2 + n) * n, n * self.d)
        scales = source.vector(f"{tensors}_scale.weight", 3).tolist()
        base = source.vector(f"{tensors}_base.weight", (2 + n) * n)
        eps, norm = source.number("hyper_connection.epsilon"), self.plain_norm()
        read = Weights(norm, whole.rows(0, n), scales[0], base[:n], 1.0, eps)
        write = Weights(norm, whole.rows(n, 2 * n), scales[1], base[n : 2 * n], 2.0, 0.0)
        mixing = Mixing(norm, whole.rows(2 * n, (2 + n) * n), scales[2], base[2 * n :], self.sinkhorn_rounds, eps)
        return HyperResidual(name, Merge(read, self.d), write, *parts, mixing=mixing)

    def merged_planes(self) -> Part:
        """What the output norm reads of the planes: a sum with weights of its own."""
        source, n = self.source, self.planes
        weights = Weights(
            self.plain_norm(),
            self.linear("output_hc_fn", n, n * self.d),
            float(source.vector("output_hc_scale.weight", 1)),
            source.vector("output_hc_base.weight", n),
            1.0,
            source.number("hyper_connection.epsilon"),
        )
        return Named("hc_head", Merge(weights, self.d))
