"""What the program can be asked for beside shape from silhouette, one task a function: config in, files out."""
