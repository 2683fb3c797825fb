"""Asks the fleet questions in configurable patterns, and reports the results."""
