import socket

import pytest
from werkzeug import Response

from storage_service.schemas import MAX_TOPIC_CHARACTERS
from traffic_generator.client import RequestFailed, StorageClient, question_body
from traffic_generator.dataset import Question

from .conftest import Storage, problem, reply

QUESTION = Question("science", "Why?", "Tell me", "Because.")


def test_empty_fields_are_not_sent() -> None:
    assert question_body(QUESTION) == {
        "question_text": "Why?",
        "question_context": "Tell me",
        "original_answer": "Because.",
        "topic": "science",
    }
    assert question_body(Question("", "Why?", "", "")) == {"question_text": "Why?"}


def test_a_long_topic_is_cut_not_refused() -> None:
    assert question_body(Question("x" * 101, "Why?", "", ""))["topic"] == "x" * MAX_TOPIC_CHARACTERS


def test_a_reply_is_typed(storage: Storage) -> None:
    storage.on_query = lambda body, question_id: reply(
        {"status": "completed", "source": "database", "question_id": question_id, "result": {}, "new_field": 1}
    )
    answer = StorageClient(storage.url + "/").ask(QUESTION)
    assert (answer.status, answer.source, answer.question_id) == ("completed", "database", "id-Why")


def test_a_poll_hands_the_wait_on(storage: Storage) -> None:
    assert StorageClient(storage.url).poll("abc", wait_seconds=7).status == "completed"
    assert storage.polls == {"abc": ["7"]}


def test_a_failure_says_why(storage: Storage) -> None:
    storage.on_status = lambda question_id, poll: reply(
        {"question_id": question_id, "status": "failed", "error": {"reason": "retries_exhausted", "last_error": "503"}}
    )
    assert StorageClient(storage.url).poll("abc", 0).reason == "failed: retries_exhausted: 503"


@pytest.mark.parametrize(
    ("response", "reason", "permanent", "retry_after"),
    [
        (problem(503, "Unavailable", "no broker", **{"Retry-After": "7"}), "503 Unavailable: no broker", False, 7.0),
        (problem(503, "Unavailable", "", **{"Retry-After": "Sat, 01 Jan 2028"}), "503 Unavailable", False, None),
        (problem(422, "Unprocessable", "too long"), "422 Unprocessable: too long", True, None),
        (problem(429, "Too Many Requests", ""), "429 Too Many Requests", False, None),
        (Response("<html>", 502), "502 BAD GATEWAY", False, None),
        (Response("[]", 404), "404 NOT FOUND", True, None),
    ],
)
def test_an_error_status_is_told(
    storage: Storage, response: Response, reason: str, permanent: bool, retry_after: float | None
) -> None:
    storage.on_query = lambda body, question_id: response
    with pytest.raises(RequestFailed) as caught:
        StorageClient(storage.url).ask(QUESTION)
    failure = caught.value
    assert (failure.reason, failure.permanent, failure.retry_after_seconds) == (reason, permanent, retry_after)


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", '{"status": "perhaps", "question_id": "a"}', '{"status": "pending"}']
)
def test_an_unreadable_reply_is_an_error(storage: Storage, body: str) -> None:
    storage.on_query = lambda _body, question_id: Response(body, 202)
    with pytest.raises(RequestFailed, match="202 with an unreadable body"):
        StorageClient(storage.url).ask(QUESTION)


def test_a_refused_connection_is_told_without_addresses_of_objects() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(RequestFailed) as caught:
            StorageClient(url).ask(QUESTION)
    assert caught.value.reason == f"cannot reach {url}: Connection refused"
    assert not caught.value.permanent


def test_ready_is_200_only(storage: Storage) -> None:
    client = StorageClient(storage.url)
    client.check_ready()
    storage.on_ready = lambda attempt: 503
    with pytest.raises(RequestFailed, match="503"):
        client.check_ready()


def test_a_proxy_of_the_environment_is_not_used(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert StorageClient(storage.url).ask(QUESTION).status == "pending"
