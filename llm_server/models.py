"""The embedded models. Each is known by its content: a file with the size and the SHA-256 is the model, whatever its
source; another file is never loaded in its place. The standard library is enough, because the image's build uses it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CHUNK_BYTES = 1 << 20
GOOD_NEEDS_BYTES = 7 << 30
"""Memory of the machine from which on `good` is the default: the fleet needs up to 6 GB with it."""

Size = Literal["small", "good"]


@dataclass(frozen=True)
class Model:
    """A model in GGUF format.

    Attributes:
        name: Name of the model in the server's replies.
        bytes: Size of the file.
        sha256: SHA-256 of the file, in hexadecimal digits.
        url: The publisher's address of the file; None: the model comes with a package of `requirements-no-deps.txt`.
        parts: List of the packages that hold the file in parts, in order; None: there are none.
    """

    name: str
    bytes: int
    sha256: str
    url: str | None = None
    parts: str | None = None


_SMALL = Model(
    "smollm2-135m-instruct",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
GOOD = Model(
    "qwen2.5-coder-1.5b-instruct",
    1_117_320_768,
    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/"
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    parts="requirements-model-parts.txt",
)
MODELS: Mapping[Size, Model] = {"small": _SMALL, "good": GOOD}


def choose(wanted: Size | None, memory_bytes: int) -> Size:
    """Returns the wanted model, or by default the one that suits the memory of the machine. Pure."""
    return wanted or ("good" if memory_bytes >= GOOD_NEEDS_BYTES else "small")


def is_model(path: Path, model: Model) -> bool:
    """Returns whether a file has the content of the model. Reads the whole file if its size is right."""
    if path.stat().st_size != model.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == model.sha256


def find(model: Model, folders: Iterable[Path]) -> Path | None:
    """Returns the first file in the folders that has the content of the model; None: there is none."""
    files = (path for folder in folders for path in sorted(folder.glob("*.gguf")))
    return next((path for path in files if path.is_file() and is_model(path, model)), None)
