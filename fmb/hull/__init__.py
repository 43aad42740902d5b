"""The visual hull: where masks say the object is, and whether the cameras agree with them."""
