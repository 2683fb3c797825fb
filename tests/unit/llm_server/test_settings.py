import pytest

from llm_server.settings import LlmServerSettings
from pipeline.settings import load


def test_the_defaults_are_one_thread_and_four_slots():
    settings = LlmServerSettings()
    assert settings.llm_server_model is None
    assert (settings.llm_server_threads, settings.llm_server_parallel) == (1, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_SERVER_MODEL", "better"),
        ("LLM_SERVER_THREADS", "0"),
        ("LLM_SERVER_THREADS", "two"),
        ("LLM_SERVER_PARALLEL", "65"),
        ("LLM_SERVER_CONTEXT", "10"),
    ],
)
def test_an_invalid_value_is_reported_with_its_variable(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="2"):
        load(LlmServerSettings)
    assert name in capsys.readouterr().err
