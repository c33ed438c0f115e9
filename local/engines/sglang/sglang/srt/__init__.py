"""The parts of SGLang that others import."""
