"""Images: layers are recorded, not built; what a registry tag brings along is in `registry`."""
