"""Where vLLM keeps its command line and its servers."""
