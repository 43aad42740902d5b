"""Shapes, poses and data around the renderer `fm_render`; each module says what it holds."""
