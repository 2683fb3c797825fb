import json
from datetime import timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pipeline.providers.hints import Limit, limits, retry_after_seconds, wait_seconds
from tests.unit.pipeline.providers.provider_responses import RECORDED
from tests.unit.samples import NOW

SOON = NOW + timedelta(seconds=90)
EPOCH = int(SOON.timestamp())
RETRY_INFO = {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "47s"}]}}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1m30s"}, 90),
        ({"retry-after": str(EPOCH)}, 90),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after": format_datetime(SOON, usegmt=True)}, 90),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0),
        ({"retry-after": SOON.isoformat()}, 90),
    ],
)
def test_retry_after_headers_are_read_in_all_formats(headers, seconds):
    assert retry_after_seconds(headers, NOW) == seconds
    assert retry_after_seconds(CIMultiDict({name.title(): value for name, value in headers.items()}), NOW) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 9m38.016s. Need more tokens?", 578.016),
        ("Please try again in 20s. Visit https://platform.openai.com", 20),
        ("Please try again in 120ms.", 0.12),
        ("try again in 1h2m3s", 3723),
        ("Please retry after 86400 seconds. Please go here: https://aka.ms/oai/quotaincrease", 86_400),
        (
            "No deployments available, Try again in 5 seconds. Passed model=m. Try again in 60 seconds.",
            60,
        ),
        ("please try again after 1 seconds", 1),
        ("Please retry in 26.548s.", 26.548),
        ("Please wait 34 seconds before retrying.", 34),
        ("Please retry your requests after 20 seconds.", 20),
        ("try again in 2 minutes", 120),
        ("try again after 1 day", 86_400),
        ("try again in about 1 hour and 30 minutes", 5400),
        ("Your quota will reset after 13h19m1s.", 47_941),
        ("Retry-After: 30 seconds", 30),
        ("请在 5 秒后重试", 5),
        ("请5分钟后再试", 300),
        ("请等待 10 秒", 10),
        ("resets at 2026-01-02T03:05:35Z", 90),
        ("Your limit will reset at 2026-01-02 03:05:35", 90),
        ("You will regain access on 2026-01-03 at 00:00 UTC.", 75_355),
        ("您的限额将在 2026-01-02 11:05:35 重置。", 90),
        ('{"retry_after": 30}', 30),
        ('{"retryAfter": "30"}', 30),
        ('{"retry_after_ms": 1500}', 1.5),
        ('{"resets_in_seconds": 3600}', 3600),
        ('{"reset_seconds": 4, "reset_time": "4s"}', 4),
        (f'{{"resets_at": {EPOCH}}}', 90),
        ('{"estimated_time": 20.0}', 20),
        ('"quotaResetDelay": "13h19m1.5s"', 47_941.5),
        ("retry_delay {\n  seconds: 47\n}", 47),
        ("Please try again later.", None),
        ("If you just verified, it can take up to 15 minutes for access to propagate.", None),
        ("Limit 3, Used 3, Requested 1. Limit: 3 / min. Please try again later.", None),
        ("timed out after 30 s", None),
        ('"try again later", "timestamp": "2026-01-12T01:27:42.111Z"', None),
        ("try again in 9999999999999999999999 seconds", None),
        ("", None),
    ],
)
def test_a_wait_is_read_from_the_message(words, seconds):
    assert wait_seconds({}, words, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("depth", range(5))
def test_the_retry_delay_of_a_google_api_is_read_at_any_quoting_depth(depth):
    body = json.dumps(RETRY_INFO)
    for _ in range(depth):
        body = json.dumps({"raw": body})
    assert wait_seconds({}, body, NOW) == 47


def test_headers_quoted_in_an_error_of_openrouter_are_read():
    headers = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH}000"}
    body = json.dumps({"error": {"code": 429, "metadata": {"headers": headers}}})
    assert wait_seconds({}, body, NOW) == 90
    assert limits({}, body, NOW) == (Limit("requests", 50, 0, 90),)
    left = json.dumps({"error": {"metadata": {"headers": headers | {"X-RateLimit-Remaining": "1"}}}})
    assert wait_seconds({}, left, NOW) is None


def test_the_most_reliable_hint_is_used():
    words = "Please try again in 20s."
    assert wait_seconds({"retry-after": "7"}, words, NOW) == 7
    assert wait_seconds({"retry-after": "0"}, words, NOW) == 20, "a retry-after of 0 is no hint"
    assert wait_seconds({"retry-after": "0"}, "", NOW) == 0
    assert wait_seconds({}, words + json.dumps(RETRY_INFO), NOW) == 47


def test_the_wait_is_the_reset_time_of_a_used_up_limit():
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
    left = {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "1h"}
    assert wait_seconds(used_up | left, "", NOW) == 360
    assert wait_seconds(left, "", NOW) is None
    assert wait_seconds({"x-ratelimit-reset-after": "1.5"}, "", NOW) == 1.5


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (  # OpenAI
            {
                "x-ratelimit-limit-requests": "10000",
                "x-ratelimit-remaining-requests": "9999",
                "x-ratelimit-reset-requests": "8.64s",
                "x-ratelimit-limit-tokens": "200000",
                "x-ratelimit-remaining-tokens": "199,976",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            [Limit("requests", 10_000, 9999, 8.64), Limit("tokens", 200_000, 199_976, 360)],
        ),
        (  # Groq
            {"x-ratelimit-limit-requests": "14400", "x-ratelimit-reset-requests": "2m59.56s"},
            [Limit("requests", 14_400, None, 179.56)],
        ),
        ({"x-ratelimit-reset-requests": "120ms"}, [Limit("requests", reset_seconds=0.12)]),
        (  # Anthropic
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-01-02T03:05:35Z",
                "anthropic-ratelimit-input-tokens-limit": "50000",
                "anthropic-ratelimit-output-tokens-limit": "8000",
            },
            [Limit("requests", 50, 49, 90), Limit("tokens", 50_000), Limit("tokens", 8000)],
        ),
        (  # OpenRouter
            {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH}000"},
            [Limit("requests", 20, 0, 90)],
        ),
        ({"X-RateLimit-Limit": "20", "X-RateLimit-Reset": str(EPOCH)}, [Limit("requests", 20, None, 90)]),
        ({"X-RateLimit-Limit": "20", "X-RateLimit-Reset": "30"}, [Limit("requests", 20, None, 30)]),
        (  # Cerebras
            {
                "x-ratelimit-limit-requests-day": "14400",
                "x-ratelimit-remaining-requests-day": "14399",
                "x-ratelimit-reset-requests-day": "33011.38",
                "x-ratelimit-limit-tokens-minute": "60000",
            },
            [Limit("requests", 14_400, 14_399, 33_011.38, 86_400), Limit("tokens", 60_000, window_seconds=60)],
        ),
        (  # Mistral
            {
                "x-ratelimitbysize-limit-minute": "500000",
                "x-ratelimitbysize-remaining-minute": "499000",
                "x-ratelimitbysize-query-cost": "5",
                "x-ratelimit-limit-req-minute": "720",
            },
            [Limit("tokens", 500_000, 499_000, None, 60), Limit("requests", 720, window_seconds=60)],
        ),
        (  # Together
            {"x-ratelimit-limit": "1", "x-ratelimit-reset": "1", "x-tokenlimit-limit": "2000"},
            [Limit("requests", 1, None, 1), Limit("tokens", 2000)],
        ),
        (  # IETF
            {
                "ratelimit-limit": "10",
                "ratelimit-remaining": "0",
                "ratelimit-reset": "7",
                "ratelimit-policy": "10;w=60",
            },
            [Limit("requests", 10, 0, 7)],
        ),
        ({"ratelimit-limit": "10, 10;w=60"}, [Limit("requests", 10, window_seconds=60)]),
        ({"RateLimit": "limit=10, remaining=0, reset=7"}, [Limit("requests", 10, 0, 7)]),
        ({"RateLimit": '"default";r=50;t=30'}, [Limit("requests", None, 50, 30)]),
        ({"X-Rate-Limit-Limit": "9", "X-Rate-Limit-Remaining": "3"}, [Limit("requests", 9, 3)]),
        ({"x-ratelimit-limit": "5", "ratelimit-limit": "5"}, [Limit("requests", 5)]),
        (
            {
                "x-ratelimit-limit-requests": "-1",
                "x-ratelimit-remaining-requests": "many",
                "x-ratelimit-reset-requests": "soon",
            },
            [],
        ),
        ({"x-ratelimit-limit-requests": "0"}, []),
        ({"content-length": "7", "x-request-id": "1"}, []),
    ],
)
def test_limits_are_read_from_the_headers_of_all_providers(headers, expected):
    assert limits(headers, "", NOW) == tuple(expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
            [Limit("requests", 3, 0, window_seconds=60)],
        ),
        (
            "on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619.",
            [Limit("tokens", 100_000, 2950, window_seconds=86_400)],
        ),
        ("on tokens per min (TPM): Limit 30000, Requested 342389.", [Limit("tokens", 30_000, window_seconds=60)]),
        ("on requests per min. Limit: 3 / min. Current: 4 / min.", [Limit("requests", 3, window_seconds=60)]),
        ("on requests per day (RPD): Limit 200, Used 201, Requested 1.", [Limit("requests", 200, 0, None, 86_400)]),
        ("Your rate limit is 60 queries per minute.", [Limit("requests", 60, window_seconds=60)]),
        ("a Trial key, which is limited to 20 API calls / minute.", [Limit("requests", 20, window_seconds=60)]),
        ("rate limit of 50,000 input tokens per minute", [Limit("tokens", 50_000, window_seconds=60)]),
        ("Rate limit of 50 per 86400s exceeded", [Limit("requests", 50, window_seconds=86_400)]),
        ("request reached organization max RPM: 3, please try again", [Limit("requests", 3, window_seconds=60)]),
        ("TPD rate limit, current: 1505241, limit: 1500000", [Limit("tokens", 1_500_000, 0, None, 86_400)]),
        ("Rate limit exceeded. Add 10 credits to unlock 1000 free model requests per day", []),
        ("Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: m", []),
        ("Please try again in 20s.", []),
        ("You exceeded your TPM. Try again in 5 seconds.", []),
        ("You exceeded your RPM, try again in 20 requests", []),
        ("", []),
    ],
)
def test_limits_are_read_from_the_message(words, expected):
    assert limits({}, words, NOW) == tuple(expected)
    assert limits({}, json.dumps({"error": {"message": words}}), NOW) == tuple(expected)


def test_limits_of_a_google_api_are_read():
    [recorded] = [each for each in RECORDED if each.case == "quota of a day, with its value"]
    assert limits({}, json.dumps(recorded.body), NOW) == (Limit("requests", 20, window_seconds=86_400),)
    assert wait_seconds({}, json.dumps(recorded.body), NOW) == pytest.approx(58.82, abs=0.01)
    violation = {"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier", "quotaValue": "250000"}
    assert limits({}, json.dumps(violation), NOW) == (Limit("tokens", 250_000, window_seconds=60),)


FAMILIES = ["x", "anthropic", "ratelimit", "ratelimitbysize", "tokenlimit"]
REST = ["limit", "remaining", "reset", "after", "tokens", "req", "minute", "day", "policy"]
names = (
    st.text()
    | st.sampled_from(["retry-after", "retry-after-ms", "ratelimit"])
    | st.lists(st.sampled_from(FAMILIES + REST)).map("-".join)
)
values = (
    st.text()
    | st.floats().map(str)
    | st.integers().map(str)
    | st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
    | st.datetimes().map(format_datetime)
    | st.from_regex(r"[0-9]{0,30}(ms|s|m|h)?[0-9.]{0,5}(s|;w=[0-9]{0,12})?")
)
bodies = (
    st.text()
    | st.from_regex(
        r"(try again in|retryDelay\"?:|limit |retry_after\"?:|reset at |w=)\s?[0-9.,:TZ-]{0,40}(s|m| days)?"
    )
    | st.dictionaries(names, values).map(json.dumps)
    | st.dictionaries(names, values).map(lambda inner: json.dumps(json.dumps(inner)))
)


@given(st.dictionaries(names, values), bodies)
def test_any_headers_and_body_give_valid_waits_and_limits(headers, body):
    wait = wait_seconds(headers, body, NOW)
    assert wait is None or 0 <= wait < float("inf")
    for each in limits(headers, body, NOW):
        assert each.limit is None or each.limit > 0
        assert each.remaining is None or each.remaining >= 0
        assert each.reset_seconds is None or 0 <= each.reset_seconds < float("inf")
        assert each.window_seconds is None or each.window_seconds > 0
