"""Captures, photographs with masks and cameras: where their object is, and whether they agree."""
