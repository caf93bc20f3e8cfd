"""What optrace costs, measured: `python -m benchmarks`."""
