"""`offline/install` and `offline/stand-ins`, which need bash and GNU tools on Debian or Ubuntu."""

import os
import shutil
import subprocess

import pytest

from tests.unit.offline.machine import ROOT, Result


class Debian:
    """Real tools of Debian, overridden by stubs, for a copy of `offline/`."""

    def __init__(self, root):
        self.root = root
        self.bin = root / "bin"
        self.cache = root / "cache"
        self.calls = root / "calls"
        self.bin.mkdir()
        shutil.copytree(ROOT / "offline", root / "fleet/offline")
        (root / "fleet/.env").write_text("MAVEN_REPOSITORY=https://maven.example/maven2\n")
        self.stub("id", "echo 0")
        self.stub("apt-cache")
        self.stub("docker")
        self.stub("apt-get", 'case $1 in indextargets) echo "bookworm main http://mirror.example/debian" ;; esac')

    def stub(self, program, body=""):
        path = self.bin / program
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{program} $*" >>{self.calls}\n{body}\n')
        path.chmod(0o755)

    def candidates(self, **versions):
        answers = " ".join(f"{name.replace('_', '-')}) echo '  Candidate: {v}' ;;" for name, v in versions.items())
        self.stub("apt-cache", f'case $2 in {answers} *) echo "  Candidate: (none)" ;; esac')

    def run(self, script, *arguments, tools=f"/usr/bin{os.pathsep}/bin"):
        done = subprocess.run(
            ["bash", str(self.root / "fleet/offline" / script), *arguments],
            env={"PATH": f"{self.bin}{os.pathsep}{tools}", "OFFLINE_CACHE": str(self.cache)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return Result(done.returncode, done.stdout, self.calls.read_text().splitlines())

    def installed(self, result):
        return [
            call.split(" -qq ")[1] for call in result.calls if call.startswith("apt-get -o DPkg") and "install" in call
        ]


@pytest.fixture
def debian(tmp_path):
    return Debian(tmp_path)


@pytest.fixture
def bare(debian):
    """Debian without Docker: only the tools listed here are on the PATH."""
    tools = debian.root / "tools"
    tools.mkdir()
    for tool in ("bash", "sh", "dirname", "sed", "env"):
        (tools / tool).symlink_to(shutil.which(tool))
    (debian.bin / "docker").unlink()
    return debian


def test_a_bare_machine_gets_the_engine_and_its_client(bare):
    result = bare.run("install", "engine", tools=str(bare.root / "tools"))
    assert result.code == 0
    assert bare.installed(result) == ["iptables docker.io", "docker-cli"]


def test_installed_programs_are_not_installed_again(bare):
    bare.stub("docker")
    bare.stub("dockerd")
    result = bare.run("install", "engine", tools=str(bare.root / "tools"))
    assert bare.installed(result) == ["iptables"]


@pytest.mark.parametrize(
    ("candidates", "package"),
    [
        ({"docker_compose_plugin": "2.40.3-1", "docker_compose_v2": "2.24.6"}, "docker-compose-plugin"),
        ({"docker_compose_v2": "2.40.3+ds1", "docker_compose": "1.29.2-6"}, "docker-compose-v2"),
        ({"docker_compose": "2.26.1-4"}, "docker-compose"),
    ],
)
def test_compose_comes_from_the_first_package_that_is_not_compose_1(debian, candidates, package):
    debian.candidates(**candidates)
    result = debian.run("install", "compose")
    assert (result.code, debian.installed(result)) == (0, [package])


def test_compose_1_is_never_installed(debian):
    debian.candidates(docker_compose="1.29.2-3")
    assert debian.installed(debian.run("install", "compose")) == []


@pytest.mark.parametrize("package", ["docker-buildx-plugin", "docker-buildx"])
def test_buildx_comes_from_the_available_package(debian, package):
    debian.candidates(**{package.replace("-", "_"): "0.30.1"})
    result = debian.run("install", "buildx")
    assert debian.installed(result) == [package]


@pytest.mark.parametrize("script", ["install", "stand-ins"])
def test_a_user_who_is_not_root_gets_an_error_and_nothing_changes(debian, script):
    debian.stub("id", "echo 1000")
    result = debian.run(script, "engine")
    assert result.code == 1
    assert "works on Debian and Ubuntu only, as root" in result.output
    assert [call for call in result.calls if not call.startswith("id")] == []


@pytest.fixture
def builder(debian):
    """Debian that can build stand-ins from an empty base image."""
    debian.stub("mmdebstrap", "cat >/dev/null; echo a tar")  # it reads the sources: a pipe closed early is a failure
    debian.stub("docker", 'case "$1 $2" in "image inspect") exit 1 ;; import*) cat >/dev/null ;; esac')
    return debian


def test_the_python_stand_in_is_debian_and_the_others_are_built_from_their_folders(builder):
    result = builder.run("stand-ins", "python:3.11-slim-bookworm", "redis:8")
    assert result.code == 0, result.output
    imported = [call for call in result.calls if call.startswith("docker import")]
    assert {call.split()[-1] for call in imported} == {"askfleet/stand-in-base:13", "python:3.11-slim-bookworm"}
    [python] = [call for call in imported if call.endswith(" python:3.11-slim-bookworm")]
    assert "LABEL org.askfleet.stand-in=python:3.11-slim-bookworm" in python
    [built] = [call for call in result.calls if call.startswith("docker build")]
    assert "--build-arg MAVEN_REPOSITORY=https://maven.example/maven2" in built
    assert "--label org.askfleet.stand-in=redis:8 --tag redis:8 offline/images/redis" in built


def test_a_failed_build_of_a_stand_in_shows_its_log(builder):
    builder.stub("docker", 'case "$1 $2" in "image inspect") exit 0 ;; build*) echo no space; exit 1 ;; esac')
    result = builder.run("stand-ins", "redis:8")
    assert result.code == 1
    assert "no space\nprepare: could not build redis:8: the whole log is" in result.output


def test_an_image_without_a_stand_in_is_an_error(debian):
    result = debian.run("stand-ins", "mysql:9")
    assert result.code == 1
    assert "no stand-in for mysql:9 exists" in result.output


def test_on_ubuntu_a_mirror_is_required_before_anything_is_installed(debian):
    debian.stub("apt-get", 'case $1 in indextargets) echo "noble main http://mirror.example/ubuntu" ;; esac')
    result = debian.run("stand-ins", "redis:8")
    assert result.code == 1
    assert "set OFFLINE_MIRROR" in result.output
    assert debian.installed(result) == []
