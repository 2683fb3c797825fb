"""Errors that have a meaning across services."""


class Unavailable(Exception):
    """A neighbour (database, broker, scorer, …) is away: the work has to wait, it is not at fault."""
