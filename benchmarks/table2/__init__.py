"""Pose (table 2 of the paper; `python -m benchmarks.table2`)."""
