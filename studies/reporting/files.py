"""Writes files of studies. If a study runs as root in a container, they get the owner of their folder."""

import os
from pathlib import Path


def write(path: Path, body: bytes) -> None:
    """Writes a file; creates its folder if needed."""
    _make(path.parent)
    path.write_bytes(body)
    _own(path)


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir()
        _own(folder)


def _own(path: Path) -> None:
    """Sets the owner of a path to that of its folder."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
