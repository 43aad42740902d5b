"""Config in, files out: a task a file."""
