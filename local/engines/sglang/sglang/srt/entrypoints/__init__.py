"""Where SGLang keeps its HTTP server."""
