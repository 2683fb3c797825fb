import pytest

from pipeline.share import Share


def share(mine, partitions):
    made = Share()
    made.set(mine, partitions)
    return made


def test_a_member_without_partitions_has_no_share():
    assert (Share().of(16), Share().fraction) == (0, 0)


@pytest.mark.parametrize("whole", [3, 4, 16, 17, 128])
@pytest.mark.parametrize("members", [[{0, 1, 2}], [{0, 1}, {2}], [{0}, {1}, {2}], [{0, 2}, {1}, set()]])
def test_shares_of_all_members_add_up_to_the_whole(whole, members):
    assert sum(share(mine, 3).of(whole) for mine in members) == whole


def test_two_members_with_three_partitions_share_two_to_one():
    assert (share({0, 1}, 3).of(12), share({2}, 3).of(12)) == (8, 4)
    assert share({0, 1}, 3).fraction == pytest.approx(2 / 3)


def test_each_partition_gets_at_least_one_unit():
    assert [share({number}, 3).of(1) for number in range(3)] == [1, 1, 1]


def test_a_share_of_zero_is_zero():
    assert share({0, 1}, 3).of(0) == 0
