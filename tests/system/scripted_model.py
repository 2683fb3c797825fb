"""A fake language model, for tests only: an OpenAI-compatible API that says what it is told to."""

import json
import socket
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ScriptedModel:
    """Answers each question by its script, and counts and keeps the calls.

    A script is a list of steps for a question's text; the last step repeats. A step is a text (the answer) or a tuple
    (status, headers, body).
    """

    def __init__(self) -> None:
        self._scripts: dict[str, list[object]] = {}
        self._calls: dict[str, list[dict]] = defaultdict(list)
        self._lock = threading.Lock()
        self.hold = threading.Event()
        """Calls are answered while it is set."""
        self.hold.set()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                step = model._step(request)
                model.hold.wait(30)
                status, headers, body = step if isinstance(step, tuple) else (200, {}, _completion(step))
                body = body.encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.base_url = f"http://{socket.gethostbyname(socket.gethostname())}:{self._server.server_port}/v1"

    def script(self, question: str, *steps: object) -> None:
        """Tells what to answer to a question, call by call."""
        self._scripts[question] = list(steps)

    def calls(self, question: str) -> list[dict]:
        """Returns the requests about a question."""
        with self._lock:
            return list(self._calls[question])

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()

    def _step(self, request: dict) -> object:
        said = "\n".join(str(message["content"]) for message in request["messages"])
        with self._lock:
            question = next((text for text in self._scripts if text in said), None)
            if question is None:
                return "I was not told what to say."
            self._calls[question].append(request)
            steps = self._scripts[question]
            return steps[min(len(self._calls[question]), len(steps)) - 1]


def _completion(text: object) -> str:
    return json.dumps(
        {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": "scripted",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    )
