"""Shape from silhouette (table 3 of the paper; `python -m benchmarks.table3`)."""
