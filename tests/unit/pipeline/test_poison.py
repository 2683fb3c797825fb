import pytest

from pipeline.poison import PoisonLimit, TooManyUnreadable


def test_more_in_a_row_than_the_limit_are_too_many():
    limit = PoisonLimit(2)
    limit.rejected("not JSON")
    limit.rejected("not JSON")
    with pytest.raises(TooManyUnreadable, match=r"3 messages .* not JSON"):
        limit.rejected("not JSON")


def test_one_that_can_be_read_starts_the_count_anew():
    limit = PoisonLimit(1)
    for _ in range(5):
        limit.rejected("empty value")
        limit.read()
