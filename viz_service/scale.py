"""The scale of scores, for charts, pages and texts."""

CHANCE_SCORE = 0.0
"""Mean score of unrelated answers and references; identical texts score 1."""
