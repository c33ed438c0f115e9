"""A stack's resources as a picture, with their states and costs: `python -m infra.graph STACK`."""
