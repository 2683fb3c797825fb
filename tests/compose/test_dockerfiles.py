"""Requirements for every Dockerfile of a service."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("Dockerfile"), *ROOT.glob("*/Dockerfile"), *ROOT.glob("studies/baselines/*/Dockerfile")]
    if path.parent.name not in ("tests", "sql")  # the first runs as root, the second has no sources
}


def test_the_dockerfiles_are_found():
    assert {"Dockerfile", "flink_job/Dockerfile", "studies/baselines/synchronous/Dockerfile"} <= set(DOCKERFILES)


@pytest.mark.parametrize("name", DOCKERFILES)
class TestEveryDockerfile:
    def test_sources_are_made_readable_for_the_user_of_the_image(self, name):
        """COPY keeps file modes, and a clone under umask 077 is readable by its owner only, in the image by root."""
        stages = re.split(r"^FROM ", DOCKERFILES[name], flags=re.M)[1:]
        images = [each for each in stages if re.search(r"^USER ", each, re.M)]
        assert stages[-1] in images
        for image in images:
            if re.search(r"^COPY --from=\S+ /app /app$", image, re.M):
                continue  # already readable in the image they come from
            sources = [*re.finditer(r"^COPY (?!--from)(?!\S*requirements)", image, re.M)]
            readable = re.search(r"^RUN .*&& chmod -R a\+rX /app$", image, re.M)
            user = re.search(r"^USER 10001\b", image, re.M)
            assert readable
            assert user
            assert sources[-1].start() < readable.start() < user.start()

    def test_has_no_syntax_line(self, name):
        """Docker would pull the syntax image from a registry that may be unreachable."""
        assert not DOCKERFILES[name].startswith("# syntax")


LISTS = [
    path
    for pattern in ("*/requirements*.txt", "*/*/requirements*.txt", "*/*/*/requirements*.txt")
    for path in ROOT.glob(pattern)
    if path.name != "requirements-torch.txt"  # its index depends on the machine, and so do the files
]


@pytest.mark.parametrize("path", LISTS, ids=[str(path.relative_to(ROOT)) for path in LISTS])
def test_every_requirement_has_a_version_and_hashes(path):
    entries = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", path.read_text(), flags=re.M)).splitlines()
    assert entries
    assert [each for each in entries if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", each)] == []


@pytest.mark.parametrize("path", [*LISTS, ROOT / "package-lock.json"], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_lock_file_names_an_address(path):
    assert "://" not in path.read_text()
