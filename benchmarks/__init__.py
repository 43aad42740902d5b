"""How fast the renderer is, and against what; never part of the tests."""
