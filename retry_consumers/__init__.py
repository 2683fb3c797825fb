"""Delays failed calls, then publishes their questions again: one program with two strategies."""
