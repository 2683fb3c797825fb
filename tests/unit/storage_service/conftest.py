import pytest

from tests.unit.storage_service.fakes import Fleet


@pytest.fixture
def fleet():
    return Fleet()
