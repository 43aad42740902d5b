"""Damaged files for every reader, in workers with little memory and time."""
