"""One room a format, reading and writing both."""
