from datetime import timedelta
from email.utils import format_datetime

import pytest

from llm_consumer.errors import MAX_MESSAGE_CHARACTERS, retry_after_seconds, sort_status
from tests.unit.samples import NOW

GEMINI = '{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}'
OPENAI = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
RATE = '{"error": {"message": "Rate limit reached for requests per second", "code": "rate_limit_exceeded"}}'
OLLAMA = '{"error": "server busy, please try again. maximum pending requests exceeded"}'


@pytest.mark.parametrize(
    ("status", "body", "headers", "meaning"),
    [
        (503, OLLAMA, {}, "overload"),
        (529, "overloaded_error", {}, "overload"),
        (502, "", {}, "overload"),
        (504, "", {}, "overload"),
        (500, "", {}, "overload"),
        (408, "", {}, "overload"),
        (429, RATE, {}, "overload"),
        (429, RATE, {"retry-after": "2"}, "overload"),
        (429, OLLAMA, {}, "overload"),
        (429, RATE, {"retry-after": "30"}, "quota"),
        (429, GEMINI, {}, "quota"),
        (429, OPENAI, {}, "quota"),
        (402, "", {}, "quota"),
        (400, "exceed_context_size_error", {}, "permanent"),
        (401, "Incorrect API key", {}, "permanent"),
        (403, "", {}, "permanent"),
        (404, "model not found", {}, "permanent"),
        (413, "", {}, "permanent"),
        (422, "", {}, "permanent"),
    ],
)
def test_each_answer_is_sorted_by_what_it_means(status, body, headers, meaning):
    error = sort_status(status, body, headers, NOW)
    assert (error.type, error.status_code) == (meaning, status)
    assert error.message


def test_messages_are_short_and_on_one_line():
    error = sort_status(500, "a\nb " * 1000, {}, NOW)
    assert len(error.message) <= MAX_MESSAGE_CHARACTERS
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0),
    ],
)
def test_retry_after_in_all_its_forms(headers, seconds):
    assert retry_after_seconds(headers, NOW) == seconds
