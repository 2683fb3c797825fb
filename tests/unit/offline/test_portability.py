"""`make up` runs with any POSIX shell and POSIX tools: macOS has bash 3.2, GNU make 3.81 and none of the GNU tools."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.offline.machine import ROOT, SHELLS

MAKE = shutil.which("make") or "make"
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
SHELLCHECK = (
    shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "shellcheck"
)


def shellcheck(*arguments, **options):
    return subprocess.run(
        [SHELLCHECK, "--severity=warning", *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT, **options
    )


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", ["prepare", "start-engine"])
def test_the_shell_can_parse_the_script(shell, script):
    subprocess.run([*SHELLS[shell], "-n", str(ROOT / "offline" / script)], check=True, timeout=60)


@pytest.mark.parametrize("script", ["prepare", "start-engine"])
def test_the_script_is_posix_shell(script):
    assert (ROOT / "offline" / script).read_text().startswith("#!/bin/sh\n")
    result = shellcheck("--shell=sh", f"offline/{script}")
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("script", ["studies/run", "studies/cache/with_redis"])
def test_the_scripts_of_the_studies_are_posix_shell(script):
    assert (ROOT / script).read_text().startswith("#!/bin/sh\n")
    for shell in SHELLS.values():
        subprocess.run([*shell, "-n", str(ROOT / script)], check=True, timeout=60)
    result = shellcheck("--shell=sh", script)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("script", ["install", "stand-ins", "apt.sh"])
def test_shellcheck_finds_no_errors_in_bash_scripts(script):
    result = shellcheck("--external-sources", f"offline/{script}")
    assert (result.returncode, result.stdout) == (0, "")


def recipes(target: str, folder: Path) -> list[str]:
    """Returns the recipes of a target: make runs them with a shell that only records its input."""
    shell = folder / "shell"
    shell.write_text(f'#!/bin/sh\nprintf "%s\\0" "$2" >>{folder}/recipes\n')
    shell.chmod(0o755)
    subprocess.run([MAKE, "-s", "-C", str(ROOT), f"SHELL={shell}", target], check=True, timeout=60)
    return (folder / "recipes").read_text().split("\0")[:-1]


@pytest.mark.parametrize("target", TARGETS)
def test_the_recipes_of_the_makefile_are_posix_shell(target, tmp_path):
    for recipe in recipes(target, tmp_path):
        result = shellcheck("--shell=sh", "-", input=recipe)
        assert (result.returncode, result.stdout) == (0, "")


@pytest.fixture
def fleet(machine):
    shutil.copy(ROOT / "Makefile", machine.fleet)
    machine.copy("prepare")
    return machine


def make(fleet, target):
    shell = fleet.bin / "sh"
    return subprocess.run(
        [MAKE, "-C", str(fleet.fleet), "--no-print-directory", f"SHELL={shell}", target],
        env=fleet.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_make_help_lists_the_targets(fleet):
    done = make(fleet, "help")
    assert done.returncode == 0
    assert "  make up              Start the fleet" in done.stdout


def test_make_prepare_prints_its_duration(fleet):
    done = make(fleet, "prepare")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"prepare: \d s\n", done.stdout)


def test_make_prepare_fails_when_something_is_missing(fleet):
    fleet.user(1000)
    fleet.remove_state("compose")
    done = make(fleet, "prepare")
    assert done.returncode == 2
    assert "docker has no Compose plugin" in done.stderr


# --- The table of stand-ins ------------------------------------------------------------------------------------------


def table():
    lines = (ROOT / "offline/images/stand-ins").read_text().splitlines()
    return dict(reversed(line.split()) for line in lines if not line.startswith("#"))


def test_each_base_image_of_the_settings_has_a_stand_in():
    images = re.findall(r"^[A-Z0-9_]+_IMAGE=(\S+)", (ROOT / ".env").read_text(), re.MULTILINE)
    assert sorted(images) == sorted(table())


def test_each_stand_in_except_python_has_a_folder():
    folders = {path.parent.name for path in (ROOT / "offline/images").glob("*/Dockerfile")}
    assert set(table().values()) == {*folders, "python"}
