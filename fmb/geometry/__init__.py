"""Where things are: poses, cameras, views, points inside meshes, errors, ground truth."""
