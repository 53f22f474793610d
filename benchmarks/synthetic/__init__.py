"""Models of any size with random quantised weights: what `python -m benchmarks.synth` writes."""
