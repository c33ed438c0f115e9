"""Function calls: the queue of inputs, their results, retries, time-outs, cancellation, data streams."""
