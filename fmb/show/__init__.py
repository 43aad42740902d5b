"""A mixture to look at: turning, in a film, on a page, live."""
