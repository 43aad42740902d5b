"""A mixture as what other programs read: meshes, points, splats."""
