"""What every kernel here reads of a superblock of Q4_K: 256 weights in 36 words.

Word 0 holds the factors d and dmin, float16; words 1 to 3 hold eight scales and eight minima of six bits; words 4 to 35
hold four quarters of 64 weights. A quarter is 8 words: the lower half of byte b is its weight b, the upper half weight
32 + b, each half a block of 32 with a scale and a minimum of its own.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def factors(h0):
    """d and dmin as float32."""
    d = h0.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    dmin = (h0 >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    return d, dmin


@triton.jit
def scales(h1, h2, h3, late):
    """The scales and the minima of two quarters, four bytes each; late: of the third and fourth. h1, h2, h3: words."""
    s = tl.where(late, (h3 & 0x0F0F0F0F) | ((h1 >> 2) & 0x30303030), h1 & 0x3F3F3F3F)
    n = tl.where(late, ((h3 >> 4) & 0x0F0F0F0F) | ((h2 >> 2) & 0x30303030), h2 & 0x3F3F3F3F)
    return s, n
