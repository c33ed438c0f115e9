"""What runs inside a container's namespaces before and beside the user's process. Standard library only, so that it
starts in milliseconds (`python -I -S`)."""
