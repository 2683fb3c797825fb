"""A fake judge, for tests only: an OpenAI-compatible API that grades answers by words in them.

An answer that contains one of the `grades` gets its letter; others are right. It records the requests.
"""

import json
import math
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CERTAIN = 0.9
"""Probability of the letter that it replies with; the others share the rest."""

LETTERS = "ABCD"


class ScriptedJudge:
    """Grades answers, and is unavailable on demand."""

    def __init__(self, grades: Mapping[str, str]) -> None:
        """Starts to serve in a thread.

        Args:
            grades: Letter by word.
        """
        self.grades = grades
        self.unavailable = False
        """True: every call gets 503."""
        self.requests: list[dict[str, Any]] = []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                judge.requests.append(request)
                body = b'{"error": {"message": "overloaded"}}' if judge.unavailable else judge._reply(request)
                self.send_response(503 if judge.unavailable else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Logs nothing."""

        self._server = ThreadingHTTPServer(("", 0), Handler)
        threading.Thread(target=self._server.serve_forever, name="scripted-judge", daemon=True).start()
        self.base_url = f"http://{socket.gethostbyname(socket.gethostname())}:{self._server.server_port}/v1"

    def calls(self, word: str) -> list[str]:
        """Returns the texts of the requests whose last message contains a word."""
        texts = (request["messages"][-1]["content"] for request in list(self.requests))
        return [text for text in texts if word in text]

    def close(self) -> None:
        """Ends."""
        self._server.shutdown()
        self._server.server_close()

    def _reply(self, request: Mapping[str, Any]) -> bytes:
        text = request["messages"][-1]["content"]
        letter = next((letter for word, letter in self.grades.items() if word in text), LETTERS[0])
        tokens = [
            {"token": each, "logprob": math.log(CERTAIN if each == letter else (1 - CERTAIN) / (len(LETTERS) - 1))}
            for each in LETTERS
        ]
        [chosen] = [each for each in tokens if each["token"] == letter]
        return json.dumps(
            {
                "id": "judged",
                "object": "chat.completion",
                "created": 0,
                "model": request["model"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": letter},
                        "finish_reason": "stop",
                        "logprobs": {"content": [{**chosen, "top_logprobs": tokens}]},
                    }
                ],
                "usage": {"prompt_tokens": 200, "completion_tokens": 1, "total_tokens": 201},
            }
        ).encode()
