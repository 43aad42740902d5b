"""Readers: the code that opens files.  Each returns data in this project's conventions."""
