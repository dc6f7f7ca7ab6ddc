"""Mutation testing of the core: `python -m benchmarks.mutants --sample 150 --seed 1`."""
