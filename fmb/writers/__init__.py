"""Writers: what leaves the program as files, each in the input's own frame and unit."""
