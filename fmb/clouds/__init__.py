"""From points to a surface: normalised points, a field that fits them, and the losses of every method."""
