"""Code that the services share: contracts (topics, messages, routing rules) and plumbing (Kafka, settings, logs).

It does no business I/O. A service imports `pipeline` and its own package, never another service.
"""
