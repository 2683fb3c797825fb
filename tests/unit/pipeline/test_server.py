"""Tests of the web server in a separate process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from pipeline import server

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 30

PROGRAM = """
import sys, threading
from flask import Flask
from pipeline import server
from pipeline.web import BACKGROUND

class Recorder:
    def __init__(self):
        self.released = threading.Event()
    def start(self):
        print("start", flush=True)
    def release(self):
        self.released.set()
        print("release", flush=True)
    def close(self):
        print("close", flush=True)

def create_app():
    app, recorder = Flask("test"), Recorder()
    app.extensions[BACKGROUND] = recorder
    app.add_url_rule("/", "now", lambda: "now")
    app.add_url_rule("/wait", "wait", lambda: f"released: {recorder.released.wait(60)}")
    return app

server.serve(create_app, int(sys.argv[1]), 4)
"""


@pytest.fixture
def served():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def get(url):
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
        return reply.read().decode()


def wait_until_served(url):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return get(url)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_sigterm_releases_waiting_requests_and_closes_the_background(served):
    process, url = served
    assert wait_until_served(url) == "now"
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(get(f"{url}/wait")))
    waiter.start()
    time.sleep(0.2)  # the request must have started: a later one would be refused
    process.send_signal(signal.SIGTERM)
    waiter.join(DEADLINE_SECONDS)
    assert waited == ["released: True"]
    assert process.wait(DEADLINE_SECONDS) == 0
    assert [line for line in process.stdout.read().split() if line in ("start", "release", "close")] == [
        "start",
        "release",
        "close",
    ]


def test_the_server_has_one_worker_without_preloading():
    assert server.OPTIONS["workers"] == 1
    assert not server.OPTIONS["preload_app"]
