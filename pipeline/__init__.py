"""What the services share: contracts (topics, messages, rules of the loop) and plumbing (Kafka, settings, logs).

No business I/O lives here. A service imports `pipeline` and itself, never another service.
"""
