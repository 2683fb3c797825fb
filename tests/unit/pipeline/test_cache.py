"""The answer cache without Redis; what it does with one is tried against the running fleet."""

import pytest

from pipeline.cache import Cache
from pipeline.errors import Unavailable
from pipeline.settings import CacheSettings

ID = "0" * 32


@pytest.fixture
def away():
    return Cache(CacheSettings(redis_url="redis://127.0.0.1:1/0"), "test")


def test_an_absent_redis_is_like_an_empty_one(away):
    assert away.get(ID) is None


@pytest.mark.parametrize("method", ["invalidate", "forget"])
def test_whoever_takes_an_answer_out_is_told_that_it_may_still_be_there(away, method):
    with pytest.raises(Unavailable, match="Redis"):
        getattr(away, method)(ID)
