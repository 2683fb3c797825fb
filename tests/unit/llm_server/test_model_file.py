import pytest

from llm_server import __main__ as program
from llm_server.settings import LlmServerSettings


def test_a_configured_model_file_is_used(tmp_path):
    path = tmp_path / "own.gguf"
    path.touch()
    assert program.model_file(LlmServerSettings(llm_server_model_file=str(path))) == path


def test_a_missing_model_file_is_an_error_that_names_the_variable(tmp_path):
    with pytest.raises(FileNotFoundError, match="LLM_SERVER_MODEL_FILE"):
        program.model_file(LlmServerSettings(llm_server_model_file=str(tmp_path / "none.gguf")))


def test_the_embedded_model_is_found_without_importing_its_package(tmp_path, monkeypatch):
    package = tmp_path / "weights_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('a plugin of a program that is not here')")
    (package / "model.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(program, "EMBEDDED_PACKAGE", "weights_of_a_test")
    assert program.model_file(LlmServerSettings()) == package / "model.gguf"


def test_a_missing_model_package_is_an_error(monkeypatch):
    monkeypatch.setattr(program, "EMBEDDED_PACKAGE", "weights_that_nobody_installed")
    with pytest.raises(FileNotFoundError, match="not installed"):
        program.model_file(LlmServerSettings())
