import pytest

from pipeline.consumer.stall import UnreadGrowth


def checks(*positions_and_ends):
    """What each check of one partition found."""
    growth = UnreadGrowth()
    return [growth.stalled({} if each is None else {"p": each}) for each in positions_and_ends]


def test_a_partition_that_grows_and_is_not_read_is_stalled():
    assert checks((5, 5), (5, 8), (5, 9), (5, 9)) == [[], [], ["p"], ["p"]]


def test_a_partition_that_is_read_again_is_not_stalled():
    assert checks((5, 5), (5, 8), (5, 9), (9, 9), (9, 12)) == [[], [], ["p"], [], []]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([(5, 6)] * 4, id="an end that nobody ever reads"),
        pytest.param([(5, 8), (7, 9), (8, 11), (9, 15)], id="slow"),
        pytest.param([(5, 8), None, (5, 9), None, (5, 11), None], id="not idle now and then"),
    ],
)
def test_a_partition_is_not_stalled(found):
    assert not any(checks(*found))
