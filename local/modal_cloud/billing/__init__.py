"""What containers would have cost on Modal: their seconds, metered by the cloud's clock, at its public prices."""
