"""Spaces of shapes: how well they are learnt, and how well a morph finds a shape of them."""
