"""Due times of failed calls. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.messages import RetryableFailure


@dataclass(frozen=True)
class Delays:
    """A strategy: the wait before each error retry.

    Attributes:
        seconds: Wait before retry 1, 2, …; the last value is used for all further retries.
        waiting_seconds: The same for calls that do not count as a retry: the provider did not admit the call, or was
            unavailable for everybody.
        longest_seconds: Longest wait that a provider's `Retry-After` may ask for.
        patience_seconds: Time since the first refusal after which a waiting question is due in any case.
        jitter_seconds: Maximum random addition, so that calls that failed together are not repeated together.
    """

    seconds: tuple[float, ...]
    waiting_seconds: tuple[float, ...]
    longest_seconds: float = 86_400
    patience_seconds: float = 86_400
    jitter_seconds: float = 0.25

    def due_at(self, failed: RetryableFailure, chance: float) -> datetime:
        """Returns when the question is due: after the strategy's delay or the provider's, whichever is longer.

        The delay counts from the failure, so a restarted consumer does not start the wait again.

        Args:
            failed: The failed call.
            chance: Random number from 0 to 1: the share of the jitter that is added.
        """
        if failed.error.counts_as_retry:
            waits, number = self.seconds, failed.retry_count
        else:
            waits, number = self.waiting_seconds, failed.errors[-1].times - 1 if failed.errors else 0
        delay = waits[min(number, len(waits) - 1)]
        asked = min(failed.error.retry_after_seconds or 0, self.longest_seconds)
        if failed.waiting_since:
            left = (failed.waiting_since - failed.failed_at).total_seconds() + self.patience_seconds
            asked = min(asked, max(0, left))
        return failed.failed_at + timedelta(seconds=max(delay, asked) + self.jitter_seconds * chance)


OVERLOAD = Delays((2, 4, 8), (2, 4, 8, 16, 32, 60))
QUOTA = Delays((60,), (60,))
