"""What stand-in inference engines share. Standard library only, as in a container of the real image."""
