"""Tasks: one record per container, and what the container is made of."""
