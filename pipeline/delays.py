"""When a failed call is due again. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Delays:
    """A strategy: the wait before each error retry.

    Attributes:
        seconds: Wait before retry 1, 2, …; the last one serves all further retries.
        longest_seconds: Cap on what a provider's `Retry-After` may ask for.
        jitter_seconds: Longest addition at random, so that calls that failed together do not come back together.
    """

    seconds: tuple[float, ...]
    longest_seconds: float = 600
    jitter_seconds: float = 0.25

    def due_at(
        self, failed_at: datetime, retry_count: int, retry_after_seconds: float | None, chance: float
    ) -> datetime:
        """Returns when the question is due: the strategy's delay or the provider's, whichever is longer.

        It counts from the failure itself, so that a restarted consumer does not start the wait anew.

        Args:
            failed_at: Time of the failure.
            retry_count: Error retries so far.
            retry_after_seconds: What the provider asked for.
            chance: From 0 to 1, drawn at random: the share of the jitter that is added.
        """
        delay = self.seconds[min(retry_count, len(self.seconds) - 1)]
        asked = min(retry_after_seconds or 0, self.longest_seconds)
        return failed_at + timedelta(seconds=max(delay, asked) + self.jitter_seconds * chance)


OVERLOAD = Delays((2, 4, 8))
QUOTA = Delays((60,))
