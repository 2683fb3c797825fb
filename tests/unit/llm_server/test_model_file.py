"""Which file is served: the user's own, or an embedded model found by its content."""

import hashlib
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from llm_server import __main__ as program
from llm_server import models
from llm_server.settings import LlmServerSettings

GIB = 1 << 30


@pytest.fixture
def embedded(monkeypatch):
    """Models whose content a test can write; returns the contents by size."""
    contents = {"small": b"small weights", "good": b"good weights"}
    known = {
        size: replace(models.MODELS[size], bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for size, content in contents.items()
    }
    monkeypatch.setattr(program, "MODELS", known)
    return contents


def found(folders, memory_bytes=16 * GIB, **settings):
    return program.model_file(LlmServerSettings(**settings), memory_bytes, folders)


def test_a_file_of_the_user_is_served_under_its_name(tmp_path):
    path = tmp_path / "own.gguf"
    path.touch()
    assert found([], llm_server_model_file=str(path)) == (path, "own")


def test_a_missing_file_of_the_user_is_an_error_that_names_the_variable(tmp_path):
    with pytest.raises(FileNotFoundError, match="LLM_SERVER_MODEL_FILE"):
        found([], llm_server_model_file=str(tmp_path / "none.gguf"))


@pytest.mark.parametrize(
    ("wanted", "memory_bytes", "size"),
    [
        (None, 8 * GIB, "good"),
        (None, 4 * GIB, "small"),
        ("small", 64 * GIB, "small"),
        ("good", 4 * GIB, "good"),
    ],
)
def test_the_model_is_the_wanted_one_or_suits_the_memory(tmp_path, embedded, wanted, memory_bytes, size):
    for name, content in embedded.items():
        (tmp_path / f"{name}.gguf").write_bytes(content)
    path, name = found([tmp_path], memory_bytes, llm_server_model=wanted)
    assert (path, name) == (tmp_path / f"{size}.gguf", models.MODELS[size].name)


def test_a_mounted_folder_is_searched_first_and_the_name_of_the_file_does_not_matter(tmp_path, embedded):
    mounted, image = tmp_path / "mounted", tmp_path / "image"
    for folder in (mounted, image):
        folder.mkdir()
        (folder / "any name.gguf").write_bytes(embedded["good"])
    assert found([mounted, image])[0] == mounted / "any name.gguf"
    assert found([tmp_path / "none", image])[0] == image / "any name.gguf"


def test_a_file_with_another_content_is_never_served(tmp_path, embedded):
    (tmp_path / "good.gguf").write_bytes(b"GOOD weights")
    (tmp_path / "small.gguf").write_bytes(embedded["small"])
    with capture_logs() as logs:
        assert found([tmp_path])[1] == models.MODELS["small"].name
    [line] = logs
    assert line["event"].endswith("the small one is served")
    assert line["missing"] == models.GOOD.name


def test_no_embedded_model_is_an_error(tmp_path, embedded):
    (tmp_path / "small.gguf").write_bytes(b"SMALL weights")
    with pytest.raises(FileNotFoundError, match=r"no file in .* has the content of smollm2"):
        found([tmp_path])
