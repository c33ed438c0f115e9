"""Benchmark of a deployed endpoint, as its clients see it."""
