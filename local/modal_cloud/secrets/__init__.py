"""Secrets: values go into containers' environments and nowhere else."""
