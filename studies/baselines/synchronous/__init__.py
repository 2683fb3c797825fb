"""The fleet's job as one would write it without queues: each request waits for its answer."""
