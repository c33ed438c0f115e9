"""Who one is here: the workspace and the token."""
