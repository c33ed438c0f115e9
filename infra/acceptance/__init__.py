"""A scripted acceptance run of one stack, step by step, each with its cost before it begins."""
