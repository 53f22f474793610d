"""What was measured, re-runnable: `python -m benchmarks NAME` prints times and their ratio to a named baseline."""
