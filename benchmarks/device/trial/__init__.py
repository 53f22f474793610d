"""Kernels and settings that nothing uses yet, beside what the engine does: `python -m benchmarks device --only trial`.

In the order in which they are tried: wide products (while other kernels compile), narrow fused products with Q4_K,
copies of a file's pages to pinned memory. A candidate that does not compile, fails or is wrong is told and left out.
All rows are in device.json; the table at the end puts the fastest beside what is used.
"""
