"""From a command line and a YAML file to a Config, and back into a file."""
