"""Packed weights on a GPU: kernels in Triton that expand blocks and multiply with them."""
