"""The baseline does the fleet's job: the same errors mean the same."""

from datetime import UTC, datetime

import pytest
import requests

from pipeline.providers.errors import classify_status
from studies.baselines.celery import providers
from tests.unit.studies.baselines.refusals import refusal


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (503, "busy", {}),
        (529, "", {}),
        (502, "", {}),
        (429, "too many requests", {"Retry-After": "1"}),
        (429, '{"error": {"code": "insufficient_quota"}}', {}),
        (429, "", {"Retry-After": "90"}),
        (402, "", {}),
        (401, "bad key", {}),
        (400, "", {}),
        (404, "", {}),
        (413, "", {}),
    ],
)
def test_the_same_errors_mean_the_same(status, body, headers):
    error = refusal(status, body, headers)
    meaning = classify_status(status, body, error.response.headers, datetime.now(UTC)).type
    wait = providers.wait_seconds(error, 0)
    assert {None: "permanent", 2: "overload"}.get(wait, "quota") == meaning
    assert wait is None or wait == max(wait, float(headers.get("Retry-After", 0)))


def test_no_connection_is_an_overload_that_waits_longer_each_time():
    for error in (requests.ConnectionError("gone"), requests.Timeout("late")):
        assert [providers.wait_seconds(error, retries) for retries in range(3)] == [2, 4, 8]


def test_an_empty_answer_is_asked_for_again():
    assert providers.wait_seconds(providers.EmptyAnswer(), 1) == 4


def test_what_is_no_error_of_the_call_is_not_retried():
    assert providers.wait_seconds(TypeError("a slip"), 0) is None
