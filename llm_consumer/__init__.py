"""Asks the model: consumes questions, produces answers and classified errors."""
