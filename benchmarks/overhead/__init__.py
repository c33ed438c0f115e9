"""What the serving container adds to an engine: measured with the stand-in, on any machine."""
