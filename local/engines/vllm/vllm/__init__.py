"""vLLM's stand-in: the same modules, command lines, log lines, endpoints and exits, without a GPU or a model."""
