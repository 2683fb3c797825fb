"""What a score means, in one place: the charts, the pages and the texts take it from here."""

CHANCE_SCORE = 0.0
"""Mean score of an answer and a reference that have nothing to do with each other; identical texts score 1."""
