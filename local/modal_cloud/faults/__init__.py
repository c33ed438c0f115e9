"""Faults that people and tests order: what happens to RPCs, containers, volumes, images and GPUs, and how often."""
