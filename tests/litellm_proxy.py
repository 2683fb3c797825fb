"""LiteLLM's proxy, for tests only: a real gateway that admits so many calls a minute, before a model of the fleet.

It is installed in a virtual environment of its own (`tests/Dockerfile`), and needs neither a database nor the internet.
"""

import re
import secrets
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import requests
import yaml

from tests.fleet import eventually

PROGRAM = Path("/opt/litellm/bin/litellm")
MODEL = "smollm2"
"""Name of the model at the proxy."""
START_SECONDS = 180
"""Ten with two idle cores; the fleet leaves less of them."""
STOP_SECONDS = 15
LOG_LINES = 80

USAGE_BASED: Mapping[str, object] = {"routing_strategy": "usage-based-routing", "enable_pre_call_checks": True}
"""Refusals say `No deployments available for selected model`, often with `Try again in 5 seconds` and `Retry-After: 5`,
however much longer the limit holds.

Two counts refuse: of the minute that began with the first call, up to the limit; and of the minute of the clock, up to
one less.
"""

_OFFLINE = (
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS",
    "LITELLM_LOCAL_BLOG_POSTS",
    "LITELLM_LOCAL_MODEL_COST_MAP",
    "LITELLM_LOCAL_POLICY_TEMPLATES",
)
"""What it would look up on the internet when it starts, if it were not told to take what is in its package."""
_COMPLETION = re.compile(r'"POST /v1/chat/completions HTTP/1\.1" (\d{3})')


class LiteLlmProxy:
    """The proxy in a process of its own, while the context lasts; if an error ends that, it prints what it logged."""

    def __init__(
        self,
        model_api_base: str,
        rpm: int = 10,
        model: str = "embedded",
        router_settings: Mapping[str, object] = USAGE_BASED,
        program: Path = PROGRAM,
    ) -> None:
        """Takes what it needs; it starts with the context.

        Args:
            model_api_base: Address of the OpenAI-compatible API that it asks.
            rpm: Calls that it admits a minute.
            model: Name of the model there; at the proxy it is `MODEL`.
            router_settings: How it counts them; with `{"optional_pre_call_checks": ["enforce_model_rate_limits"]}`
                by minutes of the clock alone, and refusals say nothing about when to come back.
            program: Its command line.
        """
        self.api_key = f"sk-{secrets.token_hex(32)}"
        """What callers have to send: it does not start without a key that is hard to guess."""
        host, self._port = socket.gethostbyname(socket.gethostname()), _free_port()
        self.base_url = f"http://{host}:{self._port}/v1"
        parameters: dict[str, object] = {
            "model": f"openai/{model}",
            "api_base": model_api_base,
            "api_key": "not-needed",
            "rpm": rpm,
        }
        # By itself it tries a refused call again, and a caller waits for its refusal up to a minute.
        router: dict[str, object] = {"num_retries": 0, **router_settings}
        self._configuration = {
            "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
            "router_settings": router,
        }
        self._program = program
        self._stack = ExitStack()

    def __enter__(self) -> "LiteLlmProxy":
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="litellm-")))
            configuration = self._folder / "config.yaml"
            configuration.write_text(yaml.safe_dump(self._configuration))
            log = stack.enter_context((self._folder / "log").open("wb"))
            self._process = subprocess.Popen(
                [self._program, "--config", configuration, "--host", "0.0.0.0", "--port", str(self._port)],
                cwd=self._folder,
                # Nothing of the tests' own environment: neither their modules nor their passwords.
                env={
                    **dict.fromkeys(_OFFLINE, "True"),
                    "DISABLE_ADMIN_UI": "True",
                    "HOME": str(self._folder),
                    "LITELLM_MASTER_KEY": self.api_key,
                    "LITELLM_TELEMETRY": "False",
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(self._end)
            try:
                eventually(self._ready, "LiteLLM's proxy is ready", START_SECONDS)
            except BaseException:
                print(self.log())
                raise
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            print(self.log())
        self._stack.close()

    def answers(self) -> Counter[int]:
        """Returns how many calls got each HTTP status so far."""
        return Counter(int(status) for status in _COMPLETION.findall(self._written()))

    def log(self) -> str:
        """Returns the last lines that it wrote."""
        return "\n".join(["--- LiteLLM's proxy", *self._written().splitlines()[-LOG_LINES:]])

    def _written(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def _ready(self) -> bool:
        status = self._process.poll()
        if status is not None:
            raise RuntimeError(f"LiteLLM's proxy ended with {status}")
        return requests.get(f"http://127.0.0.1:{self._port}/health/readiness", timeout=5).ok

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
