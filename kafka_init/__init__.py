"""Creates the topics, or checks those that are there; may run at any time."""
