import json

import pytest

from score_validator.artifact import (
    ENCODER_FILE,
    INT8_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    DamagedArtifact,
    check,
    sha256_of,
)
from score_validator.encoder import EncoderError
from score_validator.scorer import load_scorer
from score_validator.settings import ScorerSettings


@pytest.fixture
def folder(tmp_path):
    for name in (ENCODER_FILE, INT8_FILE, TOKENIZER_FILE):
        (tmp_path / name).write_bytes(name.encode())
    files = {name: sha256_of(tmp_path / name) for name in (ENCODER_FILE, INT8_FILE, TOKENIZER_FILE)}
    manifest = {"model": "m", "layer": 6, "weights_sha256": "0", "files": files}
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest))
    return tmp_path


def test_a_complete_folder_passes(folder):
    assert check(folder).layer == 6


@pytest.mark.parametrize("name", [ENCODER_FILE, INT8_FILE, TOKENIZER_FILE, MANIFEST_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DamagedArtifact, match=name):
        check(folder)


@pytest.mark.parametrize("name", [ENCODER_FILE, INT8_FILE, TOKENIZER_FILE, MANIFEST_FILE])
def test_a_damaged_file_is_named(folder, name):
    with (folder / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DamagedArtifact, match=rf"{name}.* is damaged"):
        check(folder)


def test_a_manifest_without_one_of_the_files_is_damaged(folder):
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    del manifest["files"][TOKENIZER_FILE]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(DamagedArtifact, match="does not name all files"):
        check(folder)


def test_the_error_about_a_missing_folder_names_the_variable(tmp_path):
    with pytest.raises(EncoderError, match="SCORER_ENCODER_FOLDER"):
        load_scorer(ScorerSettings(scorer_encoder_folder=tmp_path / "nothing"))
