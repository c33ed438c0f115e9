"""modal.Dict: opaque keys and values, atomic per call, kept on disk."""
