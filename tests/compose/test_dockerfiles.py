"""What every Dockerfile of a service must do."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("Dockerfile"), *ROOT.glob("*/Dockerfile"), *ROOT.glob("studies/baselines/*/Dockerfile")]
    if path.parent.name not in ("tests", "sql")  # the one is root's, as its container is; the other has no sources
}


def test_there_are_dockerfiles():
    assert {"Dockerfile", "flink_job/Dockerfile", "studies/baselines/synchronous/Dockerfile"} <= set(DOCKERFILES)


@pytest.mark.parametrize("name", DOCKERFILES)
class TestEveryDockerfile:
    def test_its_sources_can_be_read_whatever_their_modes(self, name):
        """COPY keeps them, and under umask 077 a clone is its owner's alone; the files in the image are root's."""
        stages = re.split(r"^FROM ", DOCKERFILES[name], flags=re.M)[1:]
        images = [each for each in stages if re.search(r"^USER ", each, re.M)]
        assert stages[-1] in images
        for image in images:
            if re.search(r"^COPY --from=\S+ /app /app$", image, re.M):
                continue  # as they are in the other image
            sources = [*re.finditer(r"^COPY (?!--from)(?!\S*requirements)", image, re.M)]
            readable = re.search(r"^RUN .*&& chmod -R a\+rX /app$", image, re.M)
            user = re.search(r"^USER 10001\b", image, re.M)
            assert readable
            assert user
            assert sources[-1].start() < readable.start() < user.start()

    def test_has_no_syntax_line(self, name):
        """It would be pulled, from a registry that a laboratory does not reach."""
        assert not DOCKERFILES[name].startswith("# syntax")
