"""Source mounts: sets of files, stored by content."""
