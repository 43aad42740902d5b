"""Poses of a camera before an object: what `fmb.pose` is made of, and what it is measured with."""
