"""Files that a study writes. Where it runs as root, in a container, they belong to the owner of their folder."""

import os
from pathlib import Path


def write(path: Path, body: bytes) -> None:
    """Writes a file; its folder is made if there is none."""
    _make(path.parent)
    path.write_bytes(body)
    _own(path)


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir()
        _own(folder)


def _own(path: Path) -> None:
    """Gives a path to the owner of its folder."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
