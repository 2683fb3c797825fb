import pytest
from pydantic import Field, SecretStr

from pipeline.settings import Settings
from tools import settings_table


class Sample(Settings):
    cache_ttl: int = Field(10_000, ge=1, description="Seconds.")
    secret: SecretStr = Field(SecretStr("pass"), description="A password.")
    layer: int | None = Field(None, ge=1, le=12, description="A layer.")


def test_each_setting_of_a_class_becomes_a_row():
    rows = {each.name: each for each in settings_table.read(Sample)}
    assert (rows["CACHE_TTL"].default, rows["CACHE_TTL"].allowed) == ("10000", "1 and more")
    assert rows["SECRET"].default == "pass"
    assert rows["LAYER"].allowed == "empty, or 1 to 12"
    assert rows["LOG_LEVEL"].allowed == "`DEBUG`, `INFO`, `WARNING`, `ERROR`"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 600}, "over 0, to 600"),
        ({"type": "number", "exclusiveMinimum": 0}, "over 0"),
        ({"type": "integer"}, "whole number"),
        ({"type": "string", "minLength": 1}, "not empty"),
        ({"type": "string"}, ""),
        ({"type": "string", "pattern": "^a|b$"}, "`^a|b$`"),
        ({"type": "object", "additionalProperties": True}, "JSON object"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, ""),
        (
            {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]},
            "empty, or over 0",
        ),
    ],
)
def test_allowed_values_are_described_in_words(schema, words):
    assert settings_table.allowed(schema) == words


def test_services_with_settings_are_listed():
    assert {"kafka-init", "llm-consumer", "flink-job", "retry-quota-consumer"} <= set(settings_table.settings_classes())


def test_every_setting_has_a_description():
    found = {
        (service, each.name): each.meaning
        for service, kind in settings_table.settings_classes().items()
        for each in settings_table.read(kind)
    }
    assert [where for where, meaning in found.items() if not meaning] == []


def test_pipes_in_cells_are_escaped():
    rows = [line for line in settings_table.document().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
