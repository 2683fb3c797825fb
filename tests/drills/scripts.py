"""Scripts of the scripted provider in a drill, with the expected results. Pure.

A question's script follows from a hash of its text and a seed, so that the drill and the provider choose the same
script for thousands of questions without exchanging them.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.question import normalise
from tests.scripted_provider import (
    ByAttempt,
    Reply,
    answer,
    drip,
    drop,
    error_in_success,
    hang,
    invalid_utf8,
    not_a_number,
    refusal,
)

REFERENCE = "Water boils at one hundred degrees Celsius at sea level."
POOR = "Bananas are yellow and grow in bunches."
FAIR = "Paint dries faster when the air around it is hot."
POORER = "zxq vvk"
LONG = "Bananas are yellow. " * 52_000
"""A poor answer of 1 MB."""

BOMB_BYTES = 200_000_000
"""Size of a body that exceeds the memory of an llm-consumer; compressed it has a thousandth of the size."""

LATENCY_SECONDS = 0.5
"""Latency of an answer; long enough for calls to be in flight when a fault strikes."""

LONG_LATENCY_SECONDS = 12.0
"""Latency of slow answers; longer than most faults of a process."""

_GOOD = answer(REFERENCE, LATENCY_SECONDS)
_POOR = answer(POOR, LATENCY_SECONDS)
_BUSY = refusal(503, "server busy")


@dataclass(frozen=True)
class Script:
    """The replies to a question and the expected result.

    Attributes:
        replies: Replies to the calls of each attempt.
        status: Expected final state.
        why: Expected quality (`completed`) or reason (`failed`).
    """

    replies: ByAttempt
    status: Literal["completed", "failed"] = "completed"
    why: str = "accepted"

    @property
    def generations(self) -> int:
        """Number of generations, without error retries."""
        return len(self.replies)

    def calls(self, attempt: int) -> int:
        """Returns the number of calls of an attempt, including error retries."""
        return len(self.replies[attempt - 1]) if attempt <= len(self.replies) else 0


def _after(*errors: Reply) -> Script:
    return Script([[*errors, _GOOD]])


SCRIPTS: Mapping[str, Script] = {
    "first good": Script([[_GOOD]]),
    "slow": Script([[answer(REFERENCE, LONG_LATENCY_SECONDS)]]),
    "second good": Script([[_POOR], [_GOOD]]),
    "never good": Script(
        [[_POOR], [answer(FAIR, LATENCY_SECONDS)], [answer(POORER, LATENCY_SECONDS)]], why="max_retries_reached"
    ),
    "overloaded once": _after(_BUSY),
    "quota": _after(refusal(429, '{"error": {"code": "insufficient_quota"}}', {"Retry-After": "1"})),
    "wrong request": Script([[refusal(400, "bad request")]], "failed", "not_retryable"),
    "always overloaded": Script([[_BUSY] * 4], "failed", "retries_exhausted"),
    "dropped": _after(drop()),
    "empty": _after(answer("")),
    "error in success": _after(error_in_success()),
    "hanging": _after(hang()),
    "dripping": _after(drip()),
    "invalid UTF-8": _after(invalid_utf8()),
    "NaN": _after(not_a_number()),
    "1 MB": Script([[answer(LONG)], [_GOOD]]),
    "deep": _after(Reply(b"[" * 100_000)),
    "bomb": _after(Reply(gzip.compress(bytes(BOMB_BYTES)), headers={"Content-Encoding": "gzip"})),
}


@dataclass(frozen=True)
class Mix:
    """Assignment of scripts to questions.

    Attributes:
        shares: Weights by name of the script in `SCRIPTS`.
        seed: Seed of the assignment.
    """

    shares: Mapping[str, float]
    seed: int = 0

    def name_of(self, text: str) -> str:
        """Returns the name of a question's script, which does not depend on a suffix in parentheses."""
        kept = normalise(text).rpartition(" (")[0] or normalise(text)
        digest = hashlib.sha256(f"{self.seed}\n{kept}".encode()).digest()
        point = int.from_bytes(digest[:8], "big") / 2**64 * sum(self.shares.values())
        for name, share in self.shares.items():
            if point < share:
                return name
            point -= share
        return list(self.shares)[-1]  # rounding

    def script_of(self, text: str) -> Script:
        """Returns a question's script."""
        return SCRIPTS[self.name_of(text)]


USUAL: Mapping[str, float] = {
    "first good": 52,
    "slow": 8,
    "second good": 18,
    "never good": 6,
    "overloaded once": 10,
    "wrong request": 2,
    "always overloaded": 2,
    "dropped": 1,
    "empty": 1,
}

WITH_QUOTA: Mapping[str, float] = {**USUAL, "quota": 3}
"""Includes quota errors, which pause all calls for the time that the provider requests, and their question for 60 s.
Rate limits are left out, because the fleet would learn a limit from single scripts that does not exist
(`tests/system/test_limits.py` has providers with limits)."""

MISBEHAVING: Mapping[str, float] = {
    "first good": 42,
    "hanging": 4,
    "dripping": 4,
    "dropped": 8,
    "empty": 8,
    "error in success": 8,
    "invalid UTF-8": 8,
    "NaN": 6,
    "1 MB": 4,
    "deep": 4,
    "bomb": 4,
}
