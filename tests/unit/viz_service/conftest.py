import pytest

from tests.unit.viz_service.fakes import FakeQueries, FakeStorage, client_for


@pytest.fixture
def rows():
    return FakeQueries()


@pytest.fixture
def storage():
    return FakeStorage()


@pytest.fixture
def client(rows, storage):
    return client_for(rows, storage)


@pytest.fixture
def empty_client():
    return client_for(FakeQueries(empty=True))


@pytest.fixture
def unavailable_client():
    return client_for(FakeQueries(unavailable=True))
