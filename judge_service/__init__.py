"""Asks a model over HTTP whether an answer is right, given the references of people."""
