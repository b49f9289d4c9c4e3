"""Speed, as ratios between alternatives measured in one run: `python -m benchmarks.<name>`."""
