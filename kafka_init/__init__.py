"""Creates missing topics and updates existing ones; may run at any time."""
