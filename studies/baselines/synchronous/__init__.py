"""The fleet's job without queues: each request waits for its answer."""
