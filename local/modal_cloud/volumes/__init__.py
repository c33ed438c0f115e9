"""Volumes v1 and v2. Committed content is a plain folder; containers see it through the runtime's views."""
