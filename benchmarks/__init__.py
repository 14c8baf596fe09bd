"""What the work per token costs, beside nginx and other servers in the same run: `python -m benchmarks`."""
