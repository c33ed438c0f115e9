"""Environments: `main` exists from the start."""
