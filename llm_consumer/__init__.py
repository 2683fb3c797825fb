"""Asks the model: questions in; answers, or errors sorted by what they mean, out."""
