import pytest
from pydantic import ValidationError

from flink_job.settings import FlinkJobSettings


def test_the_job_delivers_at_least_once_by_default():
    settings = FlinkJobSettings()
    assert settings.checkpointing_mode == "AT_LEAST_ONCE"
    assert settings.delivery_options == {"sink.delivery-guarantee": "at-least-once"}


def test_exactly_once_uses_a_transaction_timeout_that_the_broker_allows(monkeypatch):
    monkeypatch.setenv("DELIVERY_GUARANTEE", "exactly-once")
    settings = FlinkJobSettings()
    assert settings.checkpointing_mode == "EXACTLY_ONCE"
    options = settings.delivery_options
    assert options["sink.delivery-guarantee"] == "exactly-once"
    assert options["sink.transactional-id-prefix"]
    assert int(options["properties.transaction.timeout.ms"]) <= 15 * 60 * 1000


def test_none_is_not_a_valid_delivery_guarantee():
    with pytest.raises(ValidationError):
        FlinkJobSettings(delivery_guarantee="none")
