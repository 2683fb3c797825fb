"""Checks of Docker Compose and buildx in `offline/prepare`."""

import pytest

BUILDX = "github.com/docker/buildx v0.17.1 257815a6fbaee88976808020bf04274388275ae8"


@pytest.fixture
def without_compose(machine):
    machine.remove_state("compose")
    machine.script("install", 'echo 2.26.1 >"$state/$1"')
    return machine


@pytest.fixture
def without_buildx(machine):
    machine.set_state("compose", "2.40.3")
    machine.script("install", f'echo {BUILDX} >"$state/$1"')
    return machine


@pytest.mark.parametrize("version", ["2.24.0", "2.26.1-4", "v2.39.4", "2.24", "2.32.4-desktop.1"])
def test_compose_before_2_40_needs_no_buildx(machine, version):
    machine.set_state("compose", version)
    result = machine.run()
    assert (result.code, result.output) == (0, "")
    assert "docker buildx version" not in result.calls


@pytest.mark.parametrize("version", ["2.40.3-desktop.1", "v5.1.0", "5.5", "5", "10.0.1"])
def test_compose_from_2_40_on_is_accepted_with_buildx(machine, version):
    machine.set_state("compose", version)
    machine.set_state("buildx", BUILDX)
    result = machine.run()
    assert (result.code, result.output) == (0, "")
    assert "docker buildx version" in result.calls


@pytest.mark.parametrize("version", ["2.23.3", "v2.3.4", "2.9", "2.6.0-desktop.2"])
def test_an_old_compose_is_rejected(machine, version):
    machine.set_state("compose", version)
    result = machine.run()
    assert (result.code, result.changes) == (1, [])
    assert "is too old. Install Docker Compose 2.24 or newer." in result.output


@pytest.mark.parametrize("text", ["1.0.6", "podman-compose version 1.0.6\npodman version 4.3.1", "1.29.2"])
def test_podman_compose_is_rejected(machine, text):
    machine.set_state("compose", text)
    result = machine.run()
    assert (result.code, result.changes) == (1, [])
    assert "podman-compose. Install Docker Compose 2.24 or newer" in result.output


def test_compose_is_installed_on_debian_as_root_without_a_terminal(without_compose):
    result = without_compose.run()
    assert (result.code, result.changes) == (0, ["install compose"])
    assert "docker has no Compose plugin. Next: install it with apt-get." in result.output


@pytest.mark.parametrize(("answer", "changes"), [("y\n", ["install compose"]), ("n\n", []), ("\n", [])])
def test_compose_is_installed_at_a_terminal_only_after_a_yes(without_compose, answer, changes):
    result = without_compose.run_at_terminal(answer)
    assert (result.code, result.changes) == (0 if changes else 1, changes)


def test_a_user_who_is_not_root_gets_instructions_to_install_compose(without_compose):
    without_compose.user(1000)
    result = without_compose.run()
    assert (result.code, result.changes) == (1, [])
    assert "docker has no Compose plugin. Install Docker Compose 2.24 or newer" in result.output


def test_prepare_fails_when_compose_could_not_be_installed(without_compose):
    without_compose.script("install")
    result = without_compose.run()
    assert (result.code, result.changes) == (1, ["install compose"])
    assert "docker has no Compose plugin. Install" in result.output


@pytest.mark.parametrize(
    ("buildx", "found"),
    [
        (None, "none"),
        ("github.com/docker/buildx v0.16.2 34c195439b", "0.16.2"),
        ("github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3", "0.13.1"),
    ],
)
def test_a_user_who_is_not_root_gets_instructions_to_install_buildx_if_compose_needs_it(without_buildx, buildx, found):
    without_buildx.user(1000)
    if buildx:
        without_buildx.set_state("buildx", buildx)
    result = without_buildx.run()
    assert (result.code, result.changes) == (1, [])
    assert f"Docker Compose 2.40.3 builds with buildx 0.17 or newer (found: {found}). Install it" in result.output


@pytest.mark.parametrize("version", ["v0.17.0", "v0.29.1-desktop.1", "0.30.1", "v1.0.0"])
def test_a_newer_buildx_is_accepted(machine, version):
    machine.set_state("compose", "5.0.0")
    machine.set_state("buildx", f"github.com/docker/buildx {version} abc1234")
    assert machine.run().code == 0


def test_buildx_is_installed_on_debian_as_root_without_a_terminal(without_buildx):
    result = without_buildx.run()
    assert (result.code, result.changes) == (0, ["install buildx"])


def test_buildx_is_not_installed_at_a_terminal_without_a_yes(without_buildx):
    result = without_buildx.run_at_terminal("\n")
    assert (result.code, result.changes) == (1, [])


def test_prepare_fails_when_only_an_old_buildx_can_be_installed(without_buildx):
    without_buildx.script("install", 'echo "github.com/docker/buildx 0.13.1" >"$state/$1"')
    result = without_buildx.run()
    assert (result.code, result.changes) == (1, ["install buildx"])
    assert "this system's packages have none" in result.output
