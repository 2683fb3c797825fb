import pytest
import structlog
from confluent_kafka import IsolationLevel, KafkaError, KafkaException

from pipeline.consumer import Clients
from pipeline.consumer.stall import CHECK_SECONDS, StallDetector, UnreadGrowth
from tests.unit.pipeline.consumer.fakes import PENDING, FakeAdmin, FakeConsumer, FakeTime, World

P0, P1 = (PENDING, 0), (PENDING, 1)


def checks(*positions_and_ends):
    """Returns what each check of one partition finds."""
    growth = UnreadGrowth()
    return [growth.stalled({} if each is None else {"p": each}) for each in positions_and_ends]


def test_a_partition_that_grows_and_is_not_read_is_stalled():
    assert checks((5, 5), (5, 8), (5, 9), (5, 9)) == [[], [], ["p"], ["p"]]


def test_a_partition_that_is_read_again_is_not_stalled():
    assert checks((5, 5), (5, 8), (5, 9), (9, 9), (9, 12)) == [[], [], ["p"], [], []]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([(5, 6)] * 4, id="constant"),
        pytest.param([(5, 8), (7, 9), (8, 11), (9, 15)], id="slow"),
        pytest.param([(5, 8), None, (5, 9), None, (5, 11), None], id="not always idle"),
    ],
)
def test_a_partition_that_is_constant_slow_or_not_always_idle_is_not_stalled(found):
    assert not any(checks(*found))


class Checked:
    """A detector whose client has read up to `positions`, and whose broker has `ends`."""

    def __init__(self):
        self.client, self.admin, self.time = FakeConsumer(World()), FakeAdmin(), FakeTime()
        self.client.positions = {P0: 0, P1: 0}
        self.detector = StallDetector(Clients(self.client, self.admin), self.time.monotonic)

    def check(self, idle=(P0, P1), **ends):
        """Returns whether a partition is stalled; `ends` are the end offsets that the broker returns."""
        self.admin.ends |= {(PENDING, int(name[1:])): end for name, end in ends.items()}
        self.detector.check(set(idle))
        return self.detector.stalled


@pytest.fixture
def checked():
    return Checked()


def test_a_check_is_due_once_per_interval(checked):
    assert checked.detector.is_due()
    checked.check()
    assert not checked.detector.is_due()
    checked.time.seconds += CHECK_SECONDS - 0.01
    assert not checked.detector.is_due()
    checked.time.seconds += 0.01
    assert checked.detector.is_due()


def test_a_partition_is_stalled_when_its_end_moves_and_the_position_does_not(checked):
    with structlog.testing.capture_logs() as logs:
        found = [checked.check(p0=end, p1=0) for end in (0, 1, 2, 3, 3, 3)]
    assert found == [False, False, False, True, True, True]
    assert [each["partitions"] for each in logs] == [[f"{PENDING}/0"]], "it is logged once"


def test_ends_are_compared_with_the_positions_at_the_next_check(checked):
    """The end was requested at the previous check, so that the client had time to read up to it."""
    for end in range(6):
        assert not checked.check(p0=end, p1=0)
        checked.client.positions[P0] = end


def test_a_stall_ends_when_the_partition_is_read_and_a_new_one_is_logged_again(checked):
    with structlog.testing.capture_logs() as logs:
        assert [checked.check(p0=end, p1=0) for end in (0, 1, 2, 3)][-1]
        checked.client.positions[P0] = 3
        assert not checked.check(p0=3)
        assert [checked.check(p0=end) for end in (4, 5, 6, 7)][-1]
    assert len(logs) == 2, "a second stall is logged again"


def test_end_offsets_are_requested_for_idle_partitions_only(checked):
    checked.check(idle=[P1])
    checked.check(idle=[])
    [(asked, options)] = checked.admin.asked
    assert asked == {P1}
    assert options["isolation_level"] == IsolationLevel.READ_COMMITTED


def test_a_partition_that_is_no_longer_idle_is_not_stalled(checked):
    for end in range(3):
        assert not checked.check(p0=end, p1=0)
    assert not checked.check(idle=[P1], p0=3)
    for end in range(3, 5):
        assert not checked.check(p0=end), "counting starts again"


def test_a_partition_that_is_not_idle_at_each_check_is_not_stalled(checked):
    for end in range(8):
        assert not checked.check(idle=[P0, P1] if end % 2 else [P1], p0=end, p1=0)


@pytest.mark.parametrize(
    "end", [None, KafkaException(KafkaError(KafkaError._TIMED_OUT))], ids=["no answer", "an error"]
)
def test_a_partition_with_an_unknown_end_offset_is_not_stalled(checked, end):
    for number in range(8):
        assert not checked.check(p0=end if number % 2 else number, p1=0)
