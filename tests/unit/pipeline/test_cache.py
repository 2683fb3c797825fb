"""Tests of the answer cache without Redis; the system tests cover it with Redis."""

import pytest

from pipeline.cache import Cache
from pipeline.errors import Unavailable
from pipeline.settings import CacheSettings

ID = "0" * 32


@pytest.fixture
def cache_without_redis():
    return Cache(CacheSettings(redis_url="redis://127.0.0.1:1/0"), "test")


def test_get_returns_none_without_redis(cache_without_redis):
    assert cache_without_redis.get(ID) is None


@pytest.mark.parametrize("method", ["invalidate", "forget"])
def test_invalidate_and_forget_raise_unavailable_without_redis(cache_without_redis, method):
    with pytest.raises(Unavailable, match="Redis"):
        getattr(cache_without_redis, method)(ID)
