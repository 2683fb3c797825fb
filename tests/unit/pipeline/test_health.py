import os

from pipeline.health import Heartbeat, problem


def test_no_heartbeat_yet(tmp_path):
    assert "has not started" in problem(tmp_path / "heartbeat")


def test_a_fresh_heartbeat_is_healthy(tmp_path):
    Heartbeat(tmp_path / "heartbeat").beat()
    assert problem(tmp_path / "heartbeat") is None


def test_an_old_heartbeat_says_its_age(tmp_path):
    path = tmp_path / "heartbeat"
    Heartbeat(path).beat()
    os.utime(path, (0, 0))
    assert "makes no progress" in problem(path)
