"""Spaces of shapes: samples of signed distance, and the decoder that is trained on them."""
