"""Measurements of the product: what it costs, how fast it is, what it does when things break."""
