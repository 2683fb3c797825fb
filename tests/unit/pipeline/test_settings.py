import pytest

from pipeline.settings import EXIT_USAGE, KafkaSettings, PostgresSettings, load


def test_defaults_serve_the_fleet():
    assert load(KafkaSettings).kafka_bootstrap_servers == "kafka:9092"


def test_a_bad_value_names_its_variable(monkeypatch, capsys):
    monkeypatch.setenv("POSTGRES_PORT", "99999")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(SystemExit) as stopped:
        load(PostgresSettings)
    assert stopped.value.code == EXIT_USAGE
    said = capsys.readouterr().err
    assert "POSTGRES_PORT:" in said
    assert "LOG_LEVEL:" in said
    assert "99999" in said


def test_an_empty_variable_means_the_default(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    assert load(KafkaSettings).kafka_bootstrap_servers == "kafka:9092"


def test_a_password_is_not_shown():
    assert "password" not in repr(load(PostgresSettings).postgres_password)
