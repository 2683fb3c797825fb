"""Checks a clone with the settings of Windows, where Git writes CRLF unless the repository forbids it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.com", "-c", "core.autocrlf=true"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def test_a_clone_with_autocrlf_has_no_carriage_returns(tmp_path):
    # The files that Docker builds from and the scripts that run on Linux.
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    git(source, "init", "-q")
    for name in (
        ".gitattributes",
        "Makefile",
        "docker-compose.yml",
        ".env",
        "flink_job",
        "offline",
        "sql",
        "tests/drills",
    ):
        subprocess.run(["cp", "-r", "--parents", name, source], cwd=ROOT, check=True)
    git(source, "add", "--force", ".")
    git(source, "commit", "-qm", "All of it.")
    git(tmp_path, "clone", "-q", "source", "clone")
    with_returns = [
        str(path.relative_to(clone))
        for path in clone.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(clone).parts and b"\r\n" in path.read_bytes()
    ]
    assert (clone / "flink_job" / "entrypoint.sh").is_file()
    assert with_returns == []
