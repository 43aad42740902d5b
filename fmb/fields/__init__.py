"""f(parameters, points), negative inside: metaballs, their start, their surface, how cameras see them."""
