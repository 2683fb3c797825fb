"""Behaviour of `offline/prepare` when no Docker engine answers."""

import pytest

from tests.unit.offline.machine import NOT_RUNNING


@pytest.fixture
def stopped(machine):
    machine.stop_engine()
    return machine


@pytest.fixture
def absent(machine):
    machine.remove_engine()
    return machine


@pytest.fixture(params=["proc/version", "proc/sys/kernel/osrelease"])
def in_wsl(request, machine):
    machine.file(request.param, "5.15.90.1-microsoft-standard-WSL2")
    return machine


def test_prepare_is_silent_and_changes_nothing_when_nothing_is_missing(machine):
    result = machine.run()
    assert (result.code, result.output, result.changes) == (0, "", [])


# --- Installed, but stopped ------------------------------------------------------------------------------------------


def test_a_stopped_engine_is_started_without_a_terminal_as_root(stopped):
    result = stopped.run()
    assert (result.code, result.changes) == (0, ["start-engine"])
    assert NOT_RUNNING in result.output
    assert "prepare: Docker is installed but does not run. Next: start it." in result.output


def test_a_stopped_engine_is_started_at_a_terminal_after_a_yes(stopped):
    result = stopped.run_at_terminal("y\n")
    assert (result.code, result.changes) == (0, ["start-engine"])
    assert "Continue? [y/N]" in result.output


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04", "x\n"], ids=["no", "empty", "end of input", "something else"])
def test_a_stopped_engine_is_not_started_at_a_terminal_without_a_yes(stopped, answer):
    result = stopped.run_at_terminal(answer)
    assert (result.code, result.changes) == (1, [])
    assert "nothing was changed" in result.output
    assert "sudo systemctl start docker" in result.output


def test_a_user_who_is_not_root_gets_instructions_to_start_the_engine(stopped):
    stopped.user(1000)
    result = stopped.run()
    assert (result.code, result.changes) == (1, [])
    assert "Docker is installed but does not run: sudo systemctl start docker" in result.output


def test_an_engine_outside_the_path_is_recognised_as_installed(stopped):
    stopped.user(1000)
    stopped.without("dockerd")
    stopped.file("usr/sbin/dockerd", "")
    (stopped.root / "usr/sbin/dockerd").chmod(0o755)
    assert "Docker is installed but does not run" in stopped.run().output


def test_only_iptables_is_installed_when_the_stopped_engine_lacks_it(stopped):
    stopped.without("iptables")
    result = stopped.run()
    assert (result.code, result.changes) == (0, ["install engine", "start-engine"])
    assert "Next: apt-get install iptables, then start Docker." in result.output


def test_a_stopped_engine_is_started_on_other_distributions_too(stopped):
    stopped.without("apt-get")
    stopped.file("etc/os-release", "ID=fedora\n")
    assert stopped.run().changes == ["start-engine"]


# --- Not installed ---------------------------------------------------------------------------------------------------


def test_an_engine_is_installed_on_debian_as_root_without_a_terminal(absent):
    result = absent.run()
    assert (result.code, result.changes) == (0, ["install engine"])
    assert "prepare: no Docker engine is installed. Next: apt-get install docker.io and iptables" in result.output


def test_an_installed_engine_that_does_not_run_yet_is_started(absent):
    absent.script("install", f"cp {absent.root}/packages/docker {absent.bin}/")
    assert absent.run().changes == ["install engine", "start-engine"]


def test_an_engine_is_installed_where_only_the_client_is_installed(stopped):
    stopped.without("dockerd")
    stopped.script("install", 'touch "$state/engine"')
    assert stopped.run().changes == ["install engine"]


def test_an_engine_is_installed_at_a_terminal_after_a_yes(absent):
    result = absent.run_at_terminal("y\n")
    assert (result.code, result.changes) == (0, ["install engine"])
    assert "Continue? [y/N]" in result.output


@pytest.mark.parametrize("answer", ["n\n", "\n"], ids=["no", "empty"])
def test_no_engine_is_installed_at_a_terminal_without_a_yes(absent, answer):
    result = absent.run_at_terminal(answer)
    assert (result.code, result.changes) == (1, [])
    assert "nothing was changed. Install Docker Engine 24 or newer" in result.output


def test_a_user_who_is_not_root_gets_instructions_to_install_an_engine(absent):
    absent.user(1000)
    result = absent.run()
    assert (result.code, result.changes) == (1, [])
    assert "no Docker engine is installed. Install Docker Engine 24 or newer" in result.output
    assert "sudo offline/prepare" in result.output


@pytest.mark.parametrize("text", ["ID=fedora\n", "ID=arch\n"])
def test_on_other_distributions_the_user_gets_instructions_to_install_an_engine(absent, text):
    absent.file("etc/os-release", text)
    result = absent.run()
    assert (result.code, result.changes) == (1, [])
    assert "Install Docker Engine 24 or newer" in result.output
    assert "sudo offline/prepare" not in result.output


# --- macOS, WSL, Windows ---------------------------------------------------------------------------------------------


def test_on_macos_the_user_gets_instructions_to_start_docker_desktop(stopped):
    stopped.system("Darwin")
    stopped.without("apt-get", "dockerd", "iptables", "mmdebstrap")
    result = stopped.run()
    assert (result.code, result.changes) == (1, [])
    assert "Docker is installed but does not run: start Docker Desktop (or Colima: colima start)" in result.output


def test_on_macos_the_user_gets_instructions_to_install_docker_desktop(absent):
    absent.system("Darwin")
    absent.without("apt-get", "mmdebstrap")
    result = absent.run()
    assert (result.code, result.changes) == (1, [])
    assert "install Docker Desktop and start it" in result.output


def test_nothing_is_installed_in_wsl_without_asking(in_wsl):
    in_wsl.remove_engine()
    result = in_wsl.run()
    assert (result.code, result.changes) == (1, [])
    assert "Start Docker Desktop with its WSL integration" in result.output


def test_an_engine_is_installed_in_wsl_after_a_yes(in_wsl):
    in_wsl.remove_engine()
    result = in_wsl.run_at_terminal("y\n")
    assert (result.code, result.changes) == (0, ["install engine"])
    assert "Start Docker Desktop with its WSL integration" in result.output


def test_in_wsl_the_user_gets_instructions_for_two_ways_to_start_docker(in_wsl):
    in_wsl.stop_engine()
    in_wsl.user(1000)
    result = in_wsl.run()
    assert result.code == 1
    assert "sudo service docker start, or start Docker Desktop with its WSL integration" in result.output


def test_on_windows_the_user_gets_instructions_to_start_docker_desktop(stopped):
    stopped.system("MINGW64_NT-10.0")
    result = stopped.run()
    assert (result.code, result.changes) == (1, [])
    assert "start it" in result.output
    assert "Docker Desktop" in result.output


# --- Permissions, remote engines and other contexts -------------------------------------------------------------------


def test_a_user_without_permission_gets_instructions_to_join_the_docker_group(stopped):
    stopped.user(1000)
    stopped.set_state("info-error", "permission denied while trying to connect to the Docker daemon socket")
    result = stopped.run()
    assert (result.code, result.changes) == (1, [])
    assert "ada may not use the Docker engine: join the group docker (sudo usermod -aG docker ada" in result.output


def test_no_engine_is_started_when_docker_host_is_set(stopped):
    result = stopped.run(DOCKER_HOST="tcp://build-machine:2375")
    assert (result.code, result.changes) == (1, [])
    assert "no Docker engine answers at DOCKER_HOST=tcp://build-machine:2375" in result.output


def test_no_engine_is_started_when_another_docker_context_is_in_use(stopped):
    stopped.set_state("context", "rootless")
    result = stopped.run()
    assert (result.code, result.changes) == (1, [])
    assert "Docker's context rootless" in result.output
