"""A small deployment engine for machines without the Pulumi CLI: the CLI's verbs, gRPC interfaces and state files.

It runs the unmodified Python SDK, program and dynamic provider, and only against the local cloud.
"""


class Problem(Exception):
    """One line for the person at the terminal: what failed, why, and the next command to type."""
