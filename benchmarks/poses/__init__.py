"""Poses under occlusion and noise, and how far their covariance is right (`python -m benchmarks.poses`)."""
