"""Surfaces from points by every method, ours and other people's."""
