"""Every weight format as plain torch operations, for any device that torch has.

One function per format turns packed blocks, uint8 [n, block_bytes], into weights, float32 [n, block]; `_FORMATS` is
the table of them. The layouts are those of ggml-common.h's block structs; the first line of each function is the
layout, the fields of a block in the order in which they lie in the file. Each result equals that of
`gguf.quants.dequantize` bit for bit, because the same float32 operations come in the same order.

Only uint8, int8, int32, float16 and float32 are used (F64 apart), since not every device has more; shift amounts come
from `arange`, so that nothing is copied from the host. Codebooks are read from the gguf package and kept per device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.reader.types import GGMLType

Format = Callable[[Tensor], Tensor]


def dequantize_blocks(type: GGMLType, blocks: Tensor) -> Tensor:
    """uint8 [n, type.block_bytes] -> float32 [n, type.block], on the device of `blocks`.

    Raises UserError for the integer types, which hold no weights, and ValueError for blocks of another size.
    """
    if type not in _FORMATS:
        known = ", ".join(kind.name for kind in _FORMATS)
        raise UserError(f"tensors of type {type.name} hold no weights; the weight types are {known}")
    if blocks.dtype != torch.uint8 or blocks.dim() != 2 or blocks.shape[1] != type.block_bytes:
        raise ValueError(
            f"{type.name} blocks are uint8 [n, {type.block_bytes}], not {blocks.dtype} {tuple(blocks.shape)}"
        )
    return _FORMATS[type](blocks).reshape(blocks.shape[0], type.block)


# The parts of a block.


def _split(x: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    """Bytes [n, sum(sizes)] cut into fields of the given sizes."""
    return torch.split(x, list(sizes), 1)


def _view(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes [n, k * itemsize] as little-endian numbers [n, k]."""
    # A copy always: bytes that already lie together may start where numbers of this type cannot.
    return x.clone(memory_format=torch.contiguous_format).view(dtype)


def _float16(x: Tensor) -> Tensor:
    """Pairs of bytes [n, 2k] as float16 numbers, widened: float32 [n, k]."""
    return _view(x, torch.float16).float()


def _uint16(x: Tensor) -> Tensor:
    """Pairs of bytes [n, 2k] as unsigned 16-bit numbers: int32 [n, k]."""
    wide = x.int()
    return wide[:, 0::2] | (wide[:, 1::2] << 8)


def _fields(x: Tensor, bits: int) -> Tensor:
    """The fields of `bits` bits in each byte, lowest first, side by side: [..., k] -> [..., k, 8 / bits]."""
    shifts = torch.arange(0, 8, bits, dtype=x.dtype, device=x.device)
    return (x.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)


def _planes(x: Tensor, bits: int) -> Tensor:
    """The same fields, all lowest ones first, then all next ones: [..., k] -> [..., 8 / bits, k]."""
    shifts = torch.arange(0, 8, bits, dtype=x.dtype, device=x.device)
    return (x.unsqueeze(-2) >> shifts.unsqueeze(-1)) & ((1 << bits) - 1)


def _signs(x: Tensor) -> Tensor:
    """One sign per bit, lowest first, a set bit for minus: uint8 [..., k] -> float32 [..., k, 8] of 1 and -1."""
    return 1 - 2 * _fields(x, 1).float()


def _even_signs(x: Tensor) -> Tensor:
    """Eight signs from seven bits [..., k]: the eighth makes the number of minuses even. float32 [..., k, 8]."""
    parity = x ^ (x >> 4)
    parity = parity ^ (parity >> 2)
    parity = (parity ^ (parity >> 1)) & 1
    return _signs(x | (parity << 7))


def _packed_signs(x: Tensor) -> tuple[Tensor, Tensor]:
    """32-bit words [n, 4k] of four sign indices of 7 bits and a scale of 4: float32 [n, k, 4, 8] and [n, k]."""
    words = _view(x, torch.int32)
    shifts = torch.arange(0, 28, 7, dtype=torch.int32, device=x.device)
    return _even_signs((words.unsqueeze(-1) >> shifts) & 127), ((words >> 28) & 15).float()


def _six_bit_scales(x: Tensor) -> tuple[Tensor, Tensor]:
    """The eight scales and eight minima of Q4_K and Q5_K: [n, 12] -> float32 [n, 8] twice.

    Bytes 0-3 and 4-7 hold the low six bits of the first four scales and minima, bytes 8-11 the low four bits of the
    others (scale, then minimum); the others' high two bits are the high two bits of the first eight bytes.
    """
    scales, minima, rest = _split(x, 4, 4, 4)
    scales = torch.cat([scales & 63, (rest & 15) | ((scales >> 2) & 48)], 1)
    minima = torch.cat([minima & 63, (rest >> 4) | ((minima >> 2) & 48)], 1)
    return scales.float(), minima.float()


def _look_up(name: str, index: Tensor) -> Tensor:
    """Rows or numbers of a codebook at `index`."""
    # Tensors of a subclass live in a mode (of fake tensors, say), whose constants must not outlive it in the cache.
    codebook = _codebook if type(index) is Tensor else _codebook.__wrapped__
    return codebook(name, index.device)[index.int()]


@functools.cache
def _codebook(name: str, device: torch.device) -> Tensor:
    """A format's grid [entries, weights] or list of values [16], float32, as the gguf package has it."""
    from gguf import quants

    source = getattr(quants, name)
    source.init_grid()
    if source.grid is None:
        return torch.tensor(source.kvalues, dtype=torch.float32, device=device)
    return torch.tensor(source.grid[0, 0], dtype=torch.float32, device=device)


# Plain numbers.


def _f32(blocks: Tensor) -> Tensor:
    return _view(blocks, torch.float32)


def _f16(blocks: Tensor) -> Tensor:
    return _float16(blocks)


def _bf16(blocks: Tensor) -> Tensor:
    return (_uint16(blocks) << 16).view(torch.float32)


def _f64(blocks: Tensor) -> Tensor:
    return _view(blocks, torch.float64).float()


# Blocks of 32 with one scale.


def _q4_0(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 2, 16)
    return _float16(d) * (_planes(qs, 4).flatten(1).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    d, m, qs = _split(blocks, 2, 2, 16)
    return _float16(d) * _planes(qs, 4).flatten(1).float() + _float16(m)


def _q5_0(blocks: Tensor) -> Tensor:
    d, qh, qs = _split(blocks, 2, 4, 16)
    q = _planes(qs, 4).flatten(1) | (_fields(qh, 1).flatten(1) << 4)
    return _float16(d) * (q.float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    d, m, qh, qs = _split(blocks, 2, 2, 4, 16)
    q = _planes(qs, 4).flatten(1) | (_fields(qh, 1).flatten(1) << 4)
    return _float16(d) * q.float() + _float16(m)


def _q8_0(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 2, 32)
    return qs.view(torch.int8).float() * _float16(d)


def _q1_0(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 2, 16)
    scale = _float16(d)
    return torch.where(_fields(qs, 1).flatten(1) != 0, scale, -scale)


def _q2_0(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 2, 16)
    return _float16(d) * (_fields(qs, 2).flatten(1).float() - 1)


# Superblocks of 256, whose scales are quantised themselves.


def _q2_k(blocks: Tensor) -> Tensor:
    scales, qs, d, dmin = _split(blocks, 16, 64, 2, 2)
    scale = (_float16(d) * (scales & 15).float()).unsqueeze(2)
    minimum = (_float16(dmin) * (scales >> 4).float()).unsqueeze(2)
    q = _planes(qs.reshape(-1, 2, 32), 2).reshape(-1, 16, 16)
    return scale * q.float() - minimum


def _q3_k(blocks: Tensor) -> Tensor:
    hmask, qs, scales, d = _split(blocks, 32, 64, 12, 2)
    low, high = _split(scales, 8, 4)
    scale = _planes(low, 4).flatten(1) | (_planes(high, 2).flatten(1) << 4)
    scale = _float16(d) * (scale.float() - 32)
    q = _planes(qs.reshape(-1, 2, 32), 2).flatten(1) | (_planes(hmask, 1).flatten(1) << 2)
    return scale.unsqueeze(2) * (q.float() - 4).reshape(-1, 16, 16)


def _q4_k(blocks: Tensor) -> Tensor:
    d, dmin, scales, qs = _split(blocks, 2, 2, 12, 128)
    scale, minimum = _six_bit_scales(scales)
    scale = (_float16(d) * scale).unsqueeze(2)
    minimum = (_float16(dmin) * minimum).unsqueeze(2)
    q = _planes(qs.reshape(-1, 4, 32), 4).flatten(1, 2)
    return scale * q.float() - minimum


def _q5_k(blocks: Tensor) -> Tensor:
    d, dmin, scales, qh, qs = _split(blocks, 2, 2, 12, 32, 128)
    scale, minimum = _six_bit_scales(scales)
    scale = (_float16(d) * scale).unsqueeze(2)
    minimum = (_float16(dmin) * minimum).unsqueeze(2)
    q = _planes(qs.reshape(-1, 4, 32), 4).flatten(1, 2) | (_planes(qh, 1) << 4)
    return scale * q.float() - minimum


def _q6_k(blocks: Tensor) -> Tensor:
    ql, qh, scales, d = _split(blocks, 128, 64, 16, 2)
    scale = (_float16(d) * scales.view(torch.int8).float()).unsqueeze(2)
    low = _planes(ql.reshape(-1, 2, 64), 4).flatten(1)
    high = _planes(qh.reshape(-1, 2, 32), 2).flatten(1)
    return scale * ((low | (high << 4)).float() - 32).reshape(-1, 16, 16)


# Ternary and four-bit floats.


def _tq1_0(blocks: Tensor) -> Tensor:
    qs, qh, d = _split(blocks, 48, 4, 2)
    parts = []
    for bytes_, digits in ((qs[:, :32], 5), (qs[:, 32:], 5), (qh, 4)):
        # A byte is a fraction of 256 with ternary digits: times a power of three, modulo 256, brings each to the front.
        front = torch.stack([(bytes_.int() * 3**k) & 255 for k in range(digits)], 1)
        parts.append(((front * 3) >> 8).flatten(1))
    return _float16(d) * (torch.cat(parts, 1).float() - 1)


def _tq2_0(blocks: Tensor) -> Tensor:
    qs, d = _split(blocks, 64, 2)
    q = _planes(qs.reshape(-1, 2, 32), 2).flatten(1)
    return _float16(d) * (q.float() - 1)


def _mxfp4(blocks: Tensor) -> Tensor:
    e, qs = _split(blocks, 1, 16)
    # Half of 2**(e - 127), since the codebook holds doubled values; its bits are subnormal for the two smallest e.
    exponent = e.int()
    scale = torch.where(exponent < 2, 0x00200000 << exponent.clamp(max=1), (exponent - 1) << 23).view(torch.float32)
    return scale * _look_up("MXFP4", _planes(qs, 4).flatten(1))


def _nvfp4(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 4, 32)
    # Half of an unsigned float of 4 exponent bits (bias 7) and 3 of mantissa, put together as the bits of a float32.
    # The sign bit is ignored; 0x7F stands for not-a-number and is read as zero.
    exponent = ((d >> 3) & 15).int()
    mantissa = (d & 7).int()
    normal = (((exponent + 127 - 7 - 1) << 23) | (mantissa << 20)).view(torch.float32)
    scale = torch.where(exponent == 0, mantissa.float() * 2**-10, normal)
    scale = torch.where(d == 0x7F, 0.0, scale).unsqueeze(2)
    return scale * _look_up("MXFP4", _planes(qs.reshape(-1, 4, 8), 4).flatten(2))


# Codebooks: an index picks four or eight weights at once, signs are kept beside them.


def _iq2_xxs(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 2, 64)
    index, packed = qs.reshape(-1, 8, 2, 4).unbind(2)
    signs, scale = _packed_signs(packed.flatten(1))
    scale = (_float16(d) * (0.5 + scale) * 0.25)[:, :, None, None]
    return scale * _look_up("IQ2_XXS", index) * signs


def _iq2_xs(blocks: Tensor) -> Tensor:
    d, qs, scales = _split(blocks, 2, 64, 8)
    words = _uint16(qs).reshape(-1, 16, 2)
    scale = (_float16(d) * (0.5 + _fields(scales, 4).flatten(1).float()) * 0.25)[:, :, None, None]
    return scale * _look_up("IQ2_XS", words & 511) * _even_signs(words >> 9)


def _iq2_s(blocks: Tensor) -> Tensor:
    d, qs, signs, qh, scales = _split(blocks, 2, 32, 32, 8, 8)
    index = (qs.int() | (_fields(qh, 2).flatten(1).int() << 8)).reshape(-1, 16, 2)
    scale = (_float16(d) * (0.5 + _fields(scales, 4).flatten(1).float()) * 0.25)[:, :, None, None]
    return scale * _look_up("IQ2_S", index) * _signs(signs.reshape(-1, 16, 2))


def _iq3_xxs(blocks: Tensor) -> Tensor:
    d, qs, packed = _split(blocks, 2, 64, 32)
    signs, scale = _packed_signs(packed)
    scale = (_float16(d) * (0.5 + scale) * 0.5)[:, :, None, None]
    return scale * _look_up("IQ3_XXS", qs).reshape(-1, 8, 4, 8) * signs


def _iq3_s(blocks: Tensor) -> Tensor:
    d, qs, qh, signs, scales = _split(blocks, 2, 64, 8, 32, 4)
    index = qs.int() | (_fields(qh, 1).flatten(1).int() << 8)
    scale = (_float16(d) * (1 + 2 * _fields(scales, 4).flatten(1).float()))[:, :, None, None]
    return scale * _look_up("IQ3_S", index).reshape(-1, 8, 4, 8) * _signs(signs.reshape(-1, 8, 4))


def _iq1_s(blocks: Tensor) -> Tensor:
    d, qs, qh = _split(blocks, 2, 32, 16)
    words = _uint16(qh)
    scale = (_float16(d) * (2 * ((words >> 12) & 7) + 1).float())[:, :, None, None]
    delta = (0.125 - 0.25 * (words >> 15).float())[:, :, None, None]
    shifts = torch.arange(0, 12, 3, dtype=torch.int32, device=blocks.device)
    index = qs.int().reshape(-1, 8, 4) | (((words.unsqueeze(2) >> shifts) & 7) << 8)
    return scale * (_look_up("IQ1_S", index) + delta)


def _iq1_m(blocks: Tensor) -> Tensor:
    qs, qh, scales = _split(blocks, 32, 16, 8)
    # The float16 scale lies in the top four bits of the four words of scales, lowest part first.
    tops = scales[:, 1::2] >> 4
    d = _float16(tops[:, 0::2] | (tops[:, 1::2] << 4))
    shifts = torch.arange(0, 12, 3, dtype=torch.int32, device=blocks.device)
    scale = ((_uint16(scales).unsqueeze(2) >> shifts) & 7).flatten(1)
    scale = (d * (2 * scale + 1).float())[:, :, None, None]
    high = _fields(qh, 4).flatten(1)
    delta = (0.125 - 0.25 * (high >> 3).float()).reshape(-1, 16, 2).unsqueeze(3)
    index = (qs.int() | ((high & 7).int() << 8)).reshape(-1, 16, 2)
    return scale * (_look_up("IQ1_S", index) + delta)


def _iq4_nl(blocks: Tensor) -> Tensor:
    d, qs = _split(blocks, 2, 16)
    return _float16(d) * _look_up("IQ4_NL", _planes(qs, 4).flatten(1))


def _iq4_xs(blocks: Tensor) -> Tensor:
    d, scales_h, scales_l, qs = _split(blocks, 2, 2, 4, 128)
    scale = _fields(scales_l, 4).flatten(1) | (_fields(scales_h, 2).flatten(1) << 4)
    scale = (_float16(d) * (scale.float() - 32)).unsqueeze(2)
    return scale * _look_up("IQ4_NL", _planes(qs.reshape(-1, 8, 16), 4).flatten(2))


_FORMATS: dict[GGMLType, Format] = {
    GGMLType.F32: _f32,
    GGMLType.F16: _f16,
    GGMLType.BF16: _bf16,
    GGMLType.F64: _f64,
    GGMLType.Q4_0: _q4_0,
    GGMLType.Q4_1: _q4_1,
    GGMLType.Q5_0: _q5_0,
    GGMLType.Q5_1: _q5_1,
    GGMLType.Q8_0: _q8_0,
    GGMLType.Q1_0: _q1_0,
    GGMLType.Q2_0: _q2_0,
    GGMLType.Q2_K: _q2_k,
    GGMLType.Q3_K: _q3_k,
    GGMLType.Q4_K: _q4_k,
    GGMLType.Q5_K: _q5_k,
    GGMLType.Q6_K: _q6_k,
    GGMLType.TQ1_0: _tq1_0,
    GGMLType.TQ2_0: _tq2_0,
    GGMLType.MXFP4: _mxfp4,
    GGMLType.NVFP4: _nvfp4,
    GGMLType.IQ2_XXS: _iq2_xxs,
    GGMLType.IQ2_XS: _iq2_xs,
    GGMLType.IQ2_S: _iq2_s,
    GGMLType.IQ3_XXS: _iq3_xxs,
    GGMLType.IQ3_S: _iq3_s,
    GGMLType.IQ1_S: _iq1_s,
    GGMLType.IQ1_M: _iq1_m,
    GGMLType.IQ4_NL: _iq4_nl,
    GGMLType.IQ4_XS: _iq4_xs,
}
