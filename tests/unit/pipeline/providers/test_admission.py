"""The limiter that replicas share in Redis, on an in-memory fake of Redis."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from llm_consumer.settings import LlmSettings
from pipeline import provider_status
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.clock import Clock
from pipeline.errors import Unavailable
from pipeline.messages import ProviderError
from pipeline.providers.admission import Admission, Identity, read, write
from pipeline.providers.limiter import Book, Bounds, Call, ReportedLimit
from pipeline.providers.targets import Target
from pipeline.share import Share

REFUSED = ProviderError(type="quota", cause="quota", status_code=429, message="no more today", retry_after_seconds=600)
IDENTITY = Identity("http://provider/v1", "sk-secret")


class FakeRedis:
    """Fake Redis with the methods of `BestEffortRedis` and redis-py."""

    def __init__(self):
        self.stored = {}
        self.up = True

    def attempt(self, call):
        return call(self) if self.up else None

    def transaction(self, take, *_keys, value_from_callable):
        return take(self)

    def multi(self):
        pass

    def get(self, key):
        return self.stored.get(key)

    def set(self, key, value, ex):
        self.stored[key] = value if isinstance(value, bytes) else value.encode()

    def sadd(self, key, member):
        self.stored.setdefault(key, set()).add(member)


class FakeClock(Clock):
    """Clock that moves only when a test moves it."""

    def __init__(self):
        self.seconds, self.passed = 1_000_000_000.0, 5000.0
        super().__init__(lambda: datetime.fromtimestamp(self.seconds, UTC), lambda: self.passed)

    def wait(self, seconds):
        self.seconds += seconds
        self.passed += seconds

    def set(self, seconds):
        """Changes the wall clock but not the monotonic clock."""
        self.seconds += seconds


@pytest.fixture
def redis():
    return FakeRedis()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def replica(redis, clock):
    def make(partitions=(0, 1, 2), **bounds):
        share = Share()
        share.set(partitions, 3)
        return Admission(redis, IDENTITY, Bounds(**{"concurrency": 8} | bounds), share, clock)

    return make


def admits(admission):
    try:
        return admission.admit(10)
    except Unavailable:
        return None


def test_a_refusal_of_one_replica_makes_all_replicas_wait(replica, clock):
    one, other = replica(), replica()
    one.refused(one.admit(10), REFUSED, ())
    with pytest.raises(Unavailable) as held:
        other.admit(10)
    assert held.value.wait_seconds == 600
    clock.wait(601)
    assert admits(other)


@pytest.mark.parametrize("jump", [300, -300], ids=["forward", "back"])
@pytest.mark.parametrize("up", [True, False], ids=["with Redis", "without"])
@pytest.mark.parametrize("idle", [0, 400])
def test_the_wait_of_a_provider_is_unaffected_by_changes_of_the_clock(replica, redis, clock, jump, up, idle):
    one, other = replica(), replica()
    one.refused(one.admit(10), REFUSED, ())
    assert admits(other) is None
    redis.up = up
    clock.wait(idle)
    clock.set(jump)
    for each in (one, other, one):
        with pytest.raises(Unavailable) as held:
            each.admit(10)
        assert held.value.wait_seconds == pytest.approx(600 - idle, abs=1)
    clock.wait(601 - idle)
    assert admits(one)


@pytest.mark.parametrize("jump", [300, -300], ids=["forward", "back"])
def test_a_limit_per_minute_is_unaffected_by_changes_of_the_clock(replica, clock, jump):
    one = replica(requests_per_minute=2)
    for _ in range(2):
        one.answered(one.admit(10), 10, ())
    clock.set(jump)
    assert admits(one) is None
    clock.wait(62)
    assert admits(one)


def test_the_wait_applies_on_another_machine_too(replica, clock):
    one = replica()
    one.refused(one.admit(10), REFUSED, ())
    on_another_machine = replica()
    clock.machine, clock.passed = "another", 7.0
    with pytest.raises(Unavailable) as held:
        on_another_machine.admit(10)
    assert held.value.wait_seconds == 600


def test_state_evicted_from_redis_is_written_again(replica, redis):
    one, other = replica(), replica()
    one.refused(one.admit(10), REFUSED, ())
    redis.stored.clear()
    assert admits(one) is None, "it kept the state in memory"
    assert admits(other) is None, "it read the state that the other one wrote again"


def test_without_redis_each_replica_keeps_the_state_it_knows(replica, redis):
    one, other = replica(), replica()
    one.refused(one.admit(10), REFUSED, ())
    assert admits(other) is None
    redis.up = False
    assert (admits(one), admits(other)) == (None, None)


def test_without_redis_each_replica_gets_a_share_of_the_limits(replica, redis):
    redis.up = False
    members = [replica(partitions=[number], requests_per_minute=9) for number in range(3)]
    made = 0
    for member in members:
        while call := admits(member):
            made += 1
            member.answered(call, 10, ())
    assert made == 9


def test_calls_in_flight_are_shared_by_partitions(replica):
    members = [replica(partitions=partitions, requests_per_minute=1000) for partitions in ([0, 1], [2])]
    made = [sum(admits(member) is not None for _ in range(9)) for member in members]
    assert made == [6, 2], "eight calls go to partitions 0 1 2 0 1 2 0 1"


def test_calls_of_a_member_that_lost_its_partitions_still_count(replica):
    one = replica(concurrency=2, requests_per_minute=1000)
    calls = [one.admit(10), one.admit(10)]
    taken_over = replica(concurrency=2, requests_per_minute=1000)
    assert admits(taken_over) is None
    one.answered(calls[0], 10, ())
    assert admits(taken_over)


def test_the_status_has_the_cause_of_the_wait_and_no_key(replica, redis, clock):
    one = replica(requests_per_minute=60)
    one.answered(one.admit(10), 42, ())
    one.refused(one.admit(10), REFUSED, ())
    stored = redis.stored[provider_status.status_key(IDENTITY.id)]
    assert b"sk-secret" not in stored
    [status] = provider_status.read_statuses([stored], one.status().at)
    assert (status.state, status.cause, status.message) == ("limited", "quota", "no more today")
    assert (status.requests_per_minute, status.limit_source) == (60, "settings")
    assert (status.calls_last_minute, status.refused_last_minute, status.tokens_last_minute) == (1, 1, 42)
    assert status.waiting_until.timestamp() == clock.seconds + 600
    assert redis.stored[provider_status.INDEX] == {IDENTITY.id}


def test_reopening_applies_to_all_replicas(replica):
    one, other = replica(), replica()
    one.refused(one.admit(10), REFUSED, ())
    replica().reopen()
    assert admits(other)


def test_two_keys_at_one_address_have_separate_limits():
    targets = [Target("m", "http://p/v1", SecretStr(key)) for key in ("a", "b")]
    assert Identity.of(targets[0]).id != Identity.of(targets[1]).id


def test_stored_state_is_read_back_unchanged():
    book = Book(
        version=3, log={"7": [1, 0, 9]}, calls={"c": Call("r", 1.0, 5, True)}, told={"tokens": ReportedLimit(9, 60.0)}
    )
    assert read(write(book)) == book


@pytest.mark.parametrize("stored", [b"", b"{}{", b"[]", b'{"calls": 5}', b'{"calls": {}, "told": {}, "new": 1}'])
def test_unreadable_stored_state_is_replaced_by_an_empty_one(stored):
    assert read(stored) == Book()


def test_calls_are_admitted_while_redis_is_unreachable():
    share = Share()
    share.set([0], 1)
    redis = BestEffortRedis(LlmSettings(redis_url="redis://127.0.0.1:1/0"), "test")
    admission = Admission(redis, IDENTITY, Bounds(2, requests_per_minute=100), share)
    call = admission.admit(10)
    admission.answered(call, 10, ())
    assert admission.status().calls_last_minute == 1
