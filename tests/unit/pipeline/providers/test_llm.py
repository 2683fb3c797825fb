"""One call over HTTP: proxies, hostile replies and the adaptation of requests to a provider."""

import gzip
import json
import resource
import threading
import zlib

import pytest
from werkzeug import Response

from llm_consumer.settings import LlmSettings
from pipeline.providers.adaptation import RENAME_MAX_TOKENS, SYSTEM_IN_USER
from pipeline.providers.api import MAX_BODY_BYTES, CallFailed
from pipeline.providers.llm import Llm, Prompt
from pipeline.providers.targets import Target
from tests.unit.pipeline.providers.provider_responses import completion

PATH = "/v1/chat/completions"
PROMPT = Prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}], 0.7)
GOOD = completion({"role": "assistant", "content": "Because."})
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def llm(httpserver):
    made = []

    def make(**settings):
        values = {"llm_base_url": httpserver.url_for("/v1"), "llm_timeout": 10, "llm_api_key": KEY} | settings
        read = LlmSettings(**values)
        made.append(Llm(read.targets[0], read.llm_timeout, read.llm_max_tokens))
        return made[-1]

    yield make
    for each in made:
        each.close()


def failure(llm):
    with pytest.raises(CallFailed) as failed:
        llm.ask(PROMPT)
    return failed.value.error


def memory_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- proxies --------------------------------------------------------------------------------------------------------


@pytest.fixture
def behind_a_proxy(httpserver, monkeypatch):
    """Sets the proxy variables as Docker does in every container; the proxy answers like a provider."""
    httpserver.expect_request(PATH).respond_with_json(GOOD)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, httpserver.url_for(""))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_provider_on_the_internet_is_called_through_the_proxy(httpserver, llm, behind_a_proxy):
    assert llm(llm_base_url="http://api.provider.example/v1").ask(PROMPT).text == "Because."
    assert [request.host for request, _ in httpserver.log] == ["api.provider.example"]


def test_a_server_of_the_fleet_is_called_without_the_proxy(httpserver, llm, behind_a_proxy):
    error = failure(llm(llm_base_url="http://no-such-service:8000/v1", llm_timeout=5))
    assert error.message.startswith("Connection error")
    assert not httpserver.log


# --- hostile and odd replies ----------------------------------------------------------------------------------------


def test_an_endless_answer_is_read_up_to_the_limit_only(httpserver, llm):
    def without_end():
        while True:
            yield b" " * 65_536

    httpserver.expect_request(PATH).respond_with_response(Response(without_end(), content_type="application/json"))
    before = memory_mib()
    error = failure(llm())
    assert (error.type, error.message) == ("overload", f"answer too large: more than {MAX_BODY_BYTES} bytes")
    assert memory_mib() - before < 64


def test_a_compressed_answer_is_decompressed_up_to_the_limit_only(httpserver, llm):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * 1_048_576) for _ in range(400)) + packer.flush()
    httpserver.expect_request(PATH).respond_with_data(bomb, headers={"Content-Encoding": "gzip"})
    before = memory_mib()
    assert failure(llm()).message.startswith("answer too large")
    assert memory_mib() - before < 64


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_an_unrequested_compressed_answer_is_read(httpserver, llm, encoding, pack):
    body = pack(json.dumps(GOOD).encode())
    httpserver.expect_request(PATH).respond_with_data(body, headers={"Content-Encoding": encoding})
    assert llm().ask(PROMPT).text == "Because."
    assert httpserver.log[0][0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not gzip", {"Content-Encoding": "gzip"}),
        (b"odd", {"Content-Encoding": "br"}),
        (b"[" * 100_000, {}),
        (b"\xff\xfe", {}),
        (b'{"choices": [{"message": {"content": NaN}}]}', {}),
    ],
)
def test_an_unreadable_body_is_a_failed_call(httpserver, llm, body, headers):
    httpserver.expect_request(PATH).respond_with_data(body, headers=headers, content_type="application/json")
    error = failure(llm())
    assert (error.type, error.cause) == ("overload", "no_answer")
    assert error.message.startswith("unreadable answer")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(httpserver, llm, status):
    elsewhere = httpserver.url_for("/elsewhere")
    httpserver.expect_request(PATH).respond_with_data(status=status, headers={"Location": elsewhere})
    error = failure(llm())
    assert (error.type, error.status_code) == ("permanent", status)
    assert elsewhere in error.message
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    ("change", "model", "finish_reason"),
    [
        ({"model": {}}, "embedded", "stop"),
        ({"model": ["one", "two"]}, "one", "stop"),
        ({"usage": {"prompt_tokens": 2**40, "completion_tokens": 9}}, "some-model", "stop"),
    ],
)
def test_an_answer_with_odd_fields_is_read(httpserver, llm, change, model, finish_reason):
    httpserver.expect_request(PATH).respond_with_json(GOOD | change)
    answer = llm().ask(PROMPT)
    assert (answer.text, answer.model, answer.finish_reason) == ("Because.", model, finish_reason)
    assert answer.usage.prompt_tokens < 2**31


def test_a_key_quoted_by_the_provider_is_redacted(httpserver, llm):
    httpserver.expect_request(PATH).respond_with_data("x" * 480 + f" Bearer {KEY}", 401)
    assert KEY[:12] not in failure(llm()).message


def test_a_call_aborted_by_close_raises_stopped(httpserver, llm):
    came, release = threading.Event(), threading.Event()

    def hang(_request):
        came.set()
        release.wait(20)
        raise ConnectionError

    httpserver.expect_request(PATH).respond_with_handler(hang)
    client, raised = llm(), []
    thread = threading.Thread(target=lambda: raised.append(_raised(client)))
    thread.start()
    try:
        assert came.wait(20)
        client.close()
        thread.join(20)
    finally:
        release.set()
    assert raised == ["Stopped"]


def _raised(llm):
    try:
        llm.ask(PROMPT)
    except Exception as error:
        return type(error).__name__
    return None


# --- adaptation of requests -----------------------------------------------------------------------------------------


def sent(httpserver):
    return [json.loads(request.data) for request, _ in httpserver.log]


def refusing(refuses):
    """Returns a provider that refuses a request with the message of `refuses`, if there is one."""

    def respond(request):
        message = refuses(json.loads(request.data))
        body = {"error": {"message": message, "type": "invalid_request_error"}} if message else GOOD
        return Response(json.dumps(body), 400 if message else 200, content_type="application/json")

    return respond


def test_streaming_is_switched_off(httpserver, llm):
    httpserver.expect_request(PATH).respond_with_json(GOOD)
    llm().ask(PROMPT)
    assert sent(httpserver)[0]["stream"] is False


@pytest.mark.parametrize(
    ("refuses", "fits"),
    [
        (
            lambda sent_body: (
                "Use 'max_completion_tokens' instead of 'max_tokens'." if "max_tokens" in sent_body else None
            ),
            lambda sent_body: sent_body["max_completion_tokens"] == 128,
        ),
        (
            lambda sent_body: (
                "`temperature` and `top_p` cannot both be specified"
                if {"temperature", "top_p"} <= sent_body.keys()
                else None
            ),
            lambda sent_body: "temperature" in sent_body,
        ),
        (
            lambda sent_body: "System role not supported" if sent_body["messages"][0]["role"] == "system" else None,
            lambda sent_body: sent_body["messages"] == [{"role": "user", "content": "Be brief.\n\nWhy?"}],
        ),
    ],
)
def test_a_refused_request_is_adapted_and_so_are_later_requests(httpserver, llm, refuses, fits):
    httpserver.expect_request(PATH).respond_with_handler(refusing(refuses))
    client = llm()
    assert [client.ask(PROMPT).text for _ in range(2)] == ["Because."] * 2
    requests = sent(httpserver)
    assert len(requests) == 3, "the adaptation must be learnt once"
    assert all(fits(each) for each in requests[1:])


def test_several_refused_fields_are_adapted_one_by_one(httpserver, llm):
    def refuses(sent_body):
        if "max_tokens" in sent_body:
            return "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."
        if any(each["role"] == "system" for each in sent_body["messages"]):
            return "Developer instruction is not enabled"
        return None

    httpserver.expect_request(PATH).respond_with_handler(refusing(refuses))
    client = llm()
    assert client.ask(PROMPT).text == "Because."
    assert client.adaptation == {RENAME_MAX_TOKENS, SYSTEM_IN_USER}


def test_a_refusal_that_names_no_field_is_permanent(httpserver, llm):
    httpserver.expect_request(PATH).respond_with_json({"error": {"message": "bad request"}}, 400)
    assert failure(llm()).type == "permanent"
    assert len(httpserver.log) == 1


def test_a_target_that_refuses_every_adaptation_gets_a_limited_number_of_calls(httpserver, llm):
    httpserver.expect_request(PATH).respond_with_json(
        {"error": {"message": "unsupported: temperature, top_p, max_tokens, stream, repeat_penalty, top_k"}}, 400
    )
    failure(llm(llm_extra_body={"repeat_penalty": 1.1, "top_k": 4}))
    assert len(httpserver.log) == 5


def test_learnt_adaptations_are_shared(httpserver):
    class Kept(dict):
        def recall(self, target):
            return self.get(target.model, frozenset())

        def keep(self, target, adaptation):
            self[target.model] = adaptation

    httpserver.expect_request(PATH).respond_with_handler(
        refusing(lambda sent_body: "unknown field top_p" if "top_p" in sent_body else None)
    )
    target, kept = Target("m", httpserver.url_for("/v1")), Kept()
    for _ in range(2):
        with Llm(target, 10, 128, kept) as each:
            each.ask(PROMPT)
    assert len(httpserver.log) == 3
