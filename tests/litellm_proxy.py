"""LiteLLM's proxy, for tests only: a real gateway with a limit of calls per minute in front of a model of the fleet.

It is installed in a separate virtual environment (`tests/Dockerfile`) and needs neither a database nor the internet.
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
"""A start takes ten seconds on two idle cores, and longer beside the fleet."""
STOP_SECONDS = 15
LOG_LINES = 80

USAGE_BASED: Mapping[str, object] = {"routing_strategy": "usage-based-routing", "enable_pre_call_checks": True}
"""Refusals have the text `No deployments available for selected model`, often with `Try again in 5 seconds` and
`Retry-After: 5`, even if the limit lasts longer.

Two counters refuse calls: the minute since the first call allows the limit; the minute of the clock allows one less.
"""

_OFFLINE = (
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS",
    "LITELLM_LOCAL_BLOG_POSTS",
    "LITELLM_LOCAL_MODEL_COST_MAP",
    "LITELLM_LOCAL_POLICY_TEMPLATES",
)
"""Variables that make the proxy use the data in its package instead of downloading them at the start."""
_COMPLETION = re.compile(r'"POST /v1/chat/completions HTTP/1\.1" (\d{3})')


class LiteLlmProxy:
    """Context that runs the proxy in a separate process, and prints its log after an error."""

    def __init__(
        self,
        model_api_base: str,
        rpm: int = 10,
        model: str = "embedded",
        router_settings: Mapping[str, object] = USAGE_BASED,
        program: Path = PROGRAM,
    ) -> None:
        """Prepares the proxy, which starts when the context is entered.

        Args:
            model_api_base: Address of the OpenAI-compatible API behind the proxy.
            rpm: Calls that the proxy admits per minute.
            model: Name of the model behind the proxy; its name at the proxy is `MODEL`.
            router_settings: Way of counting calls. `{"optional_pre_call_checks": ["enforce_model_rate_limits"]}` counts
                by minutes of the clock only, and its refusals have no `Retry-After`.
            program: Command of the proxy.
        """
        self.api_key = f"sk-{secrets.token_hex(32)}"
        """Key that callers have to send. The proxy does not start with a key that is easy to guess."""
        host, self._port = socket.gethostbyname(socket.gethostname()), _free_port()
        self.base_url = f"http://{host}:{self._port}/v1"
        parameters: dict[str, object] = {
            "model": f"openai/{model}",
            "api_base": model_api_base,
            "api_key": "not-needed",
            "rpm": rpm,
        }
        # By default the proxy retries a refused call, and its caller waits up to a minute for the refusal.
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
                # Nothing from the environment of the tests, which has their modules and passwords.
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
        """Returns the number of calls by HTTP status so far."""
        return Counter(int(status) for status in _COMPLETION.findall(self._written()))

    def log(self) -> str:
        """Returns the last lines of the log."""
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
