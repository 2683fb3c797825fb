import pytest

from pipeline.settings import EXIT_USAGE, KafkaSettings, PostgresSettings, load


def test_the_default_broker_is_that_of_the_fleet():
    assert load(KafkaSettings).kafka_bootstrap_servers == "kafka:9092"


def test_an_invalid_value_is_reported_with_its_variable(monkeypatch, capsys):
    monkeypatch.setenv("POSTGRES_PORT", "99999")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(SystemExit) as stopped:
        load(PostgresSettings)
    assert stopped.value.code == EXIT_USAGE
    printed = capsys.readouterr().err
    assert "POSTGRES_PORT:" in printed
    assert "LOG_LEVEL:" in printed
    assert "99999" in printed


def test_an_empty_variable_means_the_default(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    assert load(KafkaSettings).kafka_bootstrap_servers == "kafka:9092"


def test_a_password_is_not_shown():
    assert "password" not in repr(load(PostgresSettings).postgres_password)
