"""Functions, classes and servers: definitions per version, handles, autoscaler settings."""
