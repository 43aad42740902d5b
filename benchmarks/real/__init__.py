"""The errors of the fit on real captures (`python -m benchmarks.real`)."""
