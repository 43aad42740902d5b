"""The pose of the camera of an image."""
