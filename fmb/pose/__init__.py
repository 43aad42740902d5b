"""From an image to the pose of its camera."""
