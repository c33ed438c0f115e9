"""Modal's control plane on one machine: what the unmodified modal SDK and CLI talk to. See local/README.md."""
