"""Folders of images with cameras, in the formats of other programs."""
