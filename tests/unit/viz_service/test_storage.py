"""The client of storage-service."""

import socket
import threading

import pytest
from pytest_httpserver import HTTPServer

from pipeline.errors import Unavailable
from viz_service.storage import EventStream, HttpStorage, Reply


@pytest.fixture
def storage(httpserver: HTTPServer) -> HttpStorage:
    return HttpStorage(httpserver.url_for("").rstrip("/"))


def test_problems_of_storage_service_are_passed_on(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/query", method="POST", json={"question_text": ""}).respond_with_data(
        '{"status": 422}', status=422, content_type="application/problem+json"
    )
    assert storage.ask({"question_text": ""}) == Reply(422, b'{"status": 422}', "application/problem+json")


def test_events_are_streamed(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/events/1").respond_with_data("event: pending\n\n", content_type="text/event-stream")
    stream = storage.events("1", None)
    assert isinstance(stream, EventStream)
    assert b"".join(stream) == b"event: pending\n\n"
    stream.close()


def test_a_reply_without_events_is_passed_on(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/events/1", headers={"Last-Event-ID": "1-completed"}).respond_with_data(status=204)
    reply = storage.events("1", "1-completed")
    assert isinstance(reply, Reply)
    assert reply.status == 204


def test_failed_questions_are_listed_and_retried(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/failed", query_string={"text": "why", "limit": "25"}).respond_with_json({"total": 0})
    httpserver.expect_request("/failed/1/retry", method="POST").respond_with_json({"status": "pending"}, status=202)
    assert storage.failed({"text": "why", "limit": 25}) == {"total": 0}
    assert storage.retry("1").status == 202


def test_a_replay_has_no_body_and_its_problem_is_passed_on(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/dead-letters/7/replay", method="POST", data=b"").respond_with_json({"id": 7}, 202)
    httpserver.expect_request("/dead-letters/8/replay", method="POST").respond_with_data(
        '{"status": 409}', status=409, content_type="application/problem+json"
    )
    assert storage.replay(7).status == 202
    assert storage.replay(8) == Reply(409, b'{"status": 409}', "application/problem+json")


def test_the_budget_is_read(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/budget").respond_with_json({"day": "2026-03-04"})
    assert storage.budget() == {"day": "2026-03-04"}


def test_the_status_of_providers_is_read(storage: HttpStorage, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/providers").respond_with_json({"providers": []})
    assert storage.providers() == {"providers": []}


@pytest.mark.parametrize(("status", "body"), [(500, "{}"), (404, "{}"), (200, "[]"), (200, "no JSON")])
def test_an_error_or_invalid_reply_raises_unavailable(
    storage: HttpStorage, httpserver: HTTPServer, status: int, body: str
) -> None:
    httpserver.expect_request("/stats").respond_with_data(body, status=status)
    with pytest.raises(Unavailable):
        storage.statistics()


def test_an_error_reply_that_breaks_off_raises_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 500 Error\r\nContent-Length: 100\r\n\r\nhalf")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable):
            HttpStorage(f"http://127.0.0.1:{server.getsockname()[1]}").events("1", None)
        thread.join(10)


def test_an_unreachable_storage_service_raises_unavailable() -> None:
    with pytest.raises(Unavailable, match="storage-service: no connection"):
        HttpStorage("http://127.0.0.1:1").ask({})
