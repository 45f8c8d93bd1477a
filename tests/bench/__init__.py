"""The benchmarks run, with small numbers and without judging their figures."""
