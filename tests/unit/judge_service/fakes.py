"""Fakes of what the judge uses beside its provider."""

from pipeline.errors import Unavailable


class FakeAdmission:
    """Fake of the limiter in Redis; it records the reported outcomes.

    Attributes:
        waits: Waits of the next calls, in seconds; they are not admitted. None: a wait that is not known.
        admitted: Estimated tokens of the admitted calls.
        reported: Outcomes.
    """

    def __init__(self):
        self.waits = []
        self.admitted = []
        self.reported = []

    def admit(self, tokens):
        if self.waits:
            raise Unavailable("no room", self.waits.pop(0), already_logged=True)
        self.admitted.append(tokens)
        return str(len(self.admitted))

    def answered(self, call_id, tokens, limits):
        self.reported.append("answered")

    def refused(self, call_id, error, limits):
        self.reported.append("refused")

    def failed(self, call_id, question_id, since, error):
        self.reported.append("failed")
        return False

    def abandoned(self, call_id):
        self.reported.append("abandoned")


class FakeCache(dict):
    """Fake of the judgements in Redis."""

    def put(self, call_id, judgement):
        self[call_id] = judgement


class FakeBudget:
    """Fake of the day's budget.

    Attributes:
        closed: Seconds until calls are admitted again.
        charged: Tokens and cost of each call.
    """

    def __init__(self):
        self.closed = 0.0
        self.charged = []

    def closed_seconds(self):
        return self.closed

    def charge(self, tokens, cost):
        self.charged.append((tokens, cost))


class FakeRedis:
    """Fake of `BestEffortRedis`."""

    def __init__(self):
        self.stored = {}
        self.seconds = []

    def get(self, key):
        return self.stored.get(key)

    def put(self, key, value, ttl_seconds):
        self.stored[key] = value.encode()
        self.seconds.append(ttl_seconds)
