"""Where masks say the object is, and whether the cameras agree with them."""
