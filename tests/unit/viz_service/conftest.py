import pytest

from tests.unit.viz_service.fakes import FakeQueries, client_for


@pytest.fixture
def rows():
    return FakeQueries()


@pytest.fixture
def client(rows):
    return client_for(rows)


@pytest.fixture
def empty_client():
    return client_for(FakeQueries(empty=True))


@pytest.fixture
def away_client():
    return client_for(FakeQueries(away=True))
