import pytest

from score_validator.app import create_app
from score_validator.settings import ScorerSettings
from tests.unit.score_validator.fakes import FakeScorer


@pytest.fixture
def scorer():
    fake = FakeScorer()
    yield fake
    fake.released.set()


@pytest.fixture
def app(scorer):
    return create_app(ScorerSettings(scorer_queue=4), scorer)


@pytest.fixture
def client(app):
    return app.test_client()
