"""Simulated machine for `offline/prepare`: its PATH has stubs, POSIX tools and nothing else."""

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
IMAGES = {
    "PYTHON_IMAGE": "python:3.11-slim-bookworm",
    "POSTGRES_IMAGE": "postgres:17",
    "REDIS_IMAGE": "redis:8",
    "KAFKA_IMAGE": "confluentinc/cp-kafka:8.3.1",
    "KAFKA_UI_IMAGE": "ghcr.io/kafbat/kafka-ui:v1.5.0",
}
# /bin/sh of Debian, of small Linux systems, and of macOS, whose bash is old.
SHELLS = {"dash": ("dash",), "busybox": ("busybox", "sh"), "bash": ("bash", "--posix")}
POSIX_TOOLS = """
    awk basename cat chgrp chmod chown cksum cmp comm cp cut date dd df diff dirname du env expand expr false find fold
    grep head join kill link ln logname ls mkdir mkfifo mv nice nl nohup od paste printf ps pwd rm rmdir sed sh sleep
    sort split stty tail tee test touch tr true tsort tty unexpand uniq unlink wc who xargs
"""
NO_HOST = "Error response from daemon: lookup registry: no such host"
NOT_RUNNING = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"

# Stub that answers from files in $state, which each test sets up.
DOCKER = """
name() { printf %s "$1" | tr '/:' '__'; }
for last; do :; done
image="$state/images/$(name "$last")"
case "$1 $2" in
  'info '*) [ -e "$state/engine" ] || { cat "$state/info-error" >&2; exit 1; } ;;
  'context show') cat "$state/context" ;;
  'compose version') cat "$state/compose" ;;
  'buildx version') cat "$state/buildx" ;;
  'image inspect')
    [ -e "$image" ] || exit 1
    case $* in
      *Labels*) sed -n 1p "$image" ;;
      *Architecture*) sed -n 2p "$image" ;;
      *--platform*) [ -e "$state/platforms" ] ;;
    esac
    ;;
  'pull '*)
    if [ -e "$state/silent" ]; then exec sleep 60; fi
    if [ -e "$state/pull-error" ] && grep -q "^$last$" "$state/refused"; then
      cat "$state/pull-error" >&2
      exit 1
    fi
    echo "${last#*:}: Pulling from ${last%:*}"
    if [ -e "$state/slow" ]; then sleep 3; fi
    printf '\\n%s\\n' amd64 >"$image"
    ;;
esac
"""


class Result(NamedTuple):
    code: int
    output: str
    calls: list[str]

    @property
    def pulls(self) -> list[str]:
        return [call.removeprefix("docker pull ") for call in self.calls if call.startswith("docker pull ")]

    @property
    def changes(self) -> list[str]:
        """Returns the calls that change the machine, in order."""
        queries = (
            "docker info",
            "docker context",
            "docker compose version",
            "docker buildx version",
            "docker image inspect",
        )
        return [call for call in self.calls if not call.startswith(queries)]


class Machine:
    """Debian machine, as root, with Docker, all base images and a registry, unless a test changes it."""

    def __init__(self, root: Path, shell: str):
        self.root = root
        self.shell = [shutil.which(SHELLS[shell][0]) or SHELLS[shell][0], *SHELLS[shell][1:]]
        self.bin = root / "bin"
        self.state = root / "state"
        self.fleet = root / "fleet"
        self.cache = root / "var/cache/askfleet-offline"
        self._calls = root / "calls"
        for folder in (self.bin, self.state / "images", self.fleet / "offline/images", root / "tmp", root / "home"):
            folder.mkdir(parents=True)
        applets = self._applets() if shell == "busybox" else []
        for tool in POSIX_TOOLS.split():
            target = self.shell[0] if tool == "sh" or tool in applets else shutil.which(tool)
            if target:
                (self.bin / tool).symlink_to(target)

        self.copy("prepare")
        shutil.copy(ROOT / "offline/images/stand-ins", self.fleet / "offline/images")
        self.settings(**IMAGES)
        self.file("etc/os-release", 'ID=debian\nPRETTY_NAME="Debian"\n')
        self.file("proc/version", "Linux version 6.1.0 (debian)")
        self.file("proc/sys/kernel/osrelease", "6.1.0")
        self.user(0)
        self.system("Linux")
        self.stub("docker", DOCKER)
        for program in ("apt-get", "dockerd", "iptables", "mmdebstrap"):
            self.stub(program)
        self.script("install")
        self.script(
            "stand-ins",
            'for each; do printf "%s\\namd64\\n" "$each" >"$state/images/$(printf %s "$each" | tr /: __)"; done',
        )
        self.script("start-engine", 'touch "$state/engine"')
        self.set_state("engine", "")
        self.set_state("info-error", NOT_RUNNING)
        self.set_state("context", "default")
        self.set_state("compose", "2.26.1-4")
        self.have(*IMAGES.values())

    def _applets(self) -> list[str]:
        return subprocess.run([self.shell[0], "--list"], capture_output=True, text=True, check=True).stdout.split()

    def copy(self, name: str) -> None:
        """Copies a script and replaces its paths of system files by paths below the root of this machine."""
        text = (ROOT / "offline" / name).read_text()
        text = re.sub(r"(?<![\w.$}/])/(etc|proc|run|usr|var)/", rf"{self.root}/\1/", text)
        self._write(self.fleet / "offline" / name, text)

    def _write(self, path: Path, text: str) -> None:
        """Writes a program. An existing tool is a link to the real one, so it is removed first."""
        assert path.parent.resolve().is_relative_to(self.root.resolve())
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def file(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def _program(self, path: Path, body: str) -> None:
        self._write(
            path, f'#!{" ".join(self.shell)}\nstate={self.state}\necho "{path.name} $*" >>{self._calls}\n{body}\n'
        )

    def stub(self, program: str, body: str = "") -> None:
        """Puts a program on the PATH that records its call and then runs a body of shell commands."""
        self._program(self.bin / program, body)

    def script(self, name: str, body: str = "") -> None:
        """Replaces one of the scripts next to `prepare` by a recording program."""
        self._program(self.fleet / "offline" / name, body)

    def without(self, *programs: str) -> None:
        for program in programs:
            (self.bin / program).unlink()

    def set_state(self, file: str, text: str) -> None:
        (self.state / file).write_text(text and text + "\n")

    def remove_state(self, file: str) -> None:
        (self.state / file).unlink()

    def system(self, name: str) -> None:
        self._write(self.bin / "uname", f"#!{' '.join(self.shell)}\necho {name}\n")

    def user(self, number: int) -> None:
        self._write(
            self.bin / "id", f'#!{" ".join(self.shell)}\nif [ "$1" = -un ]; then echo ada; else echo {number}; fi\n'
        )

    def settings(self, **settings: str) -> None:
        (self.fleet / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def image(self, name: str) -> Path:
        return self.state / "images" / re.sub("[/:]", "_", name)

    def have(self, *names: str, label: str = "", architecture: str = "amd64") -> None:
        for name in names:
            self.image(name).write_text(f"{label}\n{architecture}\n")

    def have_stand_ins(self, *names: str) -> None:
        for name in names or IMAGES.values():
            self.have(name, label=name)

    def lack(self, *names: str) -> None:
        for name in names or IMAGES.values():
            self.image(name).unlink()

    def stop_engine(self) -> None:
        self.remove_state("engine")

    def remove_engine(self) -> None:
        """Removes Docker; `install engine` then installs and starts it, as Debian's package does with systemd."""
        packages = self.root / "packages"
        packages.mkdir()
        (self.bin / "docker").rename(packages / "docker")
        self.without("dockerd", "iptables")
        self.stop_engine()
        self.script("install", f'cp {packages}/docker {self.bin}/ && touch "$state/engine"')

    def cut_registry(self, *refused: str) -> None:
        """Makes pulls of the named images fail, or all pulls."""
        self.set_state("pull-error", NO_HOST)
        self.set_state("refused", "\n".join(refused or IMAGES.values()))

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            **settings,
        }

    def run(self, script: str = "prepare", *arguments: str, **settings: str) -> Result:
        """Runs a script without a terminal."""
        done = subprocess.run(
            [*self.shell, str(self.fleet / "offline" / script), *arguments],
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return self._result(done.returncode, done.stdout)

    def run_at_terminal(self, answer: str, **settings: str) -> Result:
        """Runs `prepare` at a terminal and types an answer, even if there is no question."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*self.shell, str(self.fleet / "offline/prepare")],
            env=self.environment(**settings),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, answer.encode())
        output = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux reports this when all programs have closed the terminal
                break
            if not piece:
                break
            output += piece
        os.close(ours)
        return self._result(process.wait(timeout=60), output.decode().replace("\r\n", "\n"))

    def _result(self, code: int, output: str) -> Result:
        calls = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return Result(code, output, [call.rstrip() for call in calls])
