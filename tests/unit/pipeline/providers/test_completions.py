"""Reading of successful replies: shapes that servers send, with made-up texts."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.providers.completions import (
    MAX_ANSWER_CHARACTERS,
    MAX_TOKENS,
    ONLY_THOUGHTS,
    STILL_THINKING,
    Completion,
    NoCompletion,
    Usage,
    read,
)
from tests.unit.pipeline.providers.provider_responses import RECORDED

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ANSWER = "Ice floats, as water expands when it freezes."
THOUGHT = "The user asks about ice. Density."
HARMONY = f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}"
USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}


def body(content=ANSWER, finish_reason="stop", *, message=None, choice=None, **fields):
    """Returns the body of a completion; `message`, `choice` and `fields` replace its parts or add to them."""
    whole = {"role": "assistant", "content": content} | (message or {})
    return {
        "id": "1",
        "object": "chat.completion",
        "model": "some-model",
        "choices": [{"index": 0, "message": whole, "finish_reason": finish_reason} | (choice or {})],
        "usage": USAGE,
    } | fields


def as_bytes(answer):
    return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def read_reply(answer):
    return read(as_bytes(answer), "asked-model", NOW)


def fail(answer):
    with pytest.raises(NoCompletion) as failed:
        read_reply(answer)
    return failed.value


def chunk(finish_reason=None, *, choice=None, **delta):
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason} | (choice or {})],
    }


def stream(*events, end="\n\n", last="data: [DONE]\n\n"):
    lines = (each if isinstance(each, str) else f"data: {json.dumps(each)}" for each in events)
    return ("".join(line + end for line in lines) + last).encode()


def test_a_plain_answer_is_read():
    assert read_reply(body()) == Completion(ANSWER, "some-model", "stop", Usage(19, 10, 0), "")


# --- Reasoning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {"content": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"},
        {"content": f"{THOUGHT}\n</think>\n\n{ANSWER}"},
        {"content": HARMONY},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, ANSWER]},
        {"content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]},
        {"content": [{"type": "reasoning", "reasoning": THOUGHT}, {"type": "output_text", "text": ANSWER}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHT}]}, {"text": ANSWER}]},
        {"content": [{"text": THOUGHT, "thought": True}, {"text": ANSWER}]},
        {"reasoning_content": THOUGHT},
        {"reasoning": THOUGHT},
        {"reasoning": THOUGHT, "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": THOUGHT}]},
        {"thinking": THOUGHT},
        {"thinking_blocks": [{"type": "thinking", "thinking": THOUGHT, "signature": "x"}]},
    ],
)
def test_reasoning_is_separated_from_the_answer(message):
    answer = read_reply(body(message=message))
    assert (answer.text, answer.reasoning) == (ANSWER, THOUGHT)


@pytest.mark.parametrize(
    "parts",
    [
        ["Ice floats, ", "as water expands when it freezes."],
        [{"type": "text", "text": "Ice floats,"}, {"type": "text", "text": " as water expands when it freezes."}],
        [{"type": "text", "text": ANSWER}, {"type": "reference", "reference_ids": [1]}, None, 7],
        [{"type": "text", "text": {"value": ANSWER}}],
        [{"text": ANSWER}],
        [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "output_text", "text": ANSWER, "annotations": []}],
    ],
)
def test_parts_of_the_content_are_joined(parts):
    answer = read_reply(body(parts))
    assert (answer.text, answer.reasoning) == (ANSWER, "")


def test_reasoning_of_a_field_and_of_the_text_is_joined():
    answer = read_reply(body(f"<think>More.</think>{ANSWER}", message={"reasoning_content": THOUGHT}))
    assert (answer.text, answer.reasoning) == (ANSWER, f"{THOUGHT}\n\nMore.")


@pytest.mark.parametrize(
    ("content", "finish_reason"),
    [
        (f"<think>\n{THOUGHT}", "length"),
        (f"  \n<Thinking>{THOUGHT}", "MAX_TOKENS"),
        (f"<think>{THOUGHT}", "stop"),
        (f"<|channel|>analysis<|message|>{THOUGHT}", "length"),
        (f"<|channel|>commentary<|message|>{THOUGHT}<|end|>", "length"),
        (f"analysis{THOUGHT}", "length"),
        (f"<think>{THOUGHT}</think>", "length"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}], "length"),
    ],
)
def test_reasoning_that_was_cut_off_is_an_empty_answer(content, finish_reason):
    failed = fail(body(content, finish_reason))
    assert (failed.error.message, failed.error.type, failed.error.cause) == (STILL_THINKING, "overload", "no_answer")
    assert failed.empty
    assert failed.usage == Usage(19, 10)


@pytest.mark.parametrize("content", [None, "", "  \n", [], "<think>Short.</think>"])
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_alone_is_an_empty_answer_even_where_the_model_stopped(content, name):
    failed = fail(body(content, message={name: ANSWER}))
    assert (failed.error.message, failed.error.type, failed.error.cause) == (ONLY_THOUGHTS, "overload", "no_answer")
    assert failed.empty


def test_hidden_reasoning_tokens_are_recognised_in_an_empty_answer():
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 10}}
    assert fail(body("", "length", usage=usage)).error.message == STILL_THINKING


def test_messages_about_reasoning_name_the_settings_that_help():
    for message in (STILL_THINKING, ONLY_THOUGHTS):
        assert message.startswith("empty answer: ")
        assert "LLM_MAX_TOKENS" in message
        assert "LLM_EXTRA_BODY" in message


def test_reasoning_cut_off_after_an_answer_keeps_the_answer():
    answer = read_reply(body(f"{ANSWER}\n<think>\nWait, is th", "length"))
    assert (answer.text, answer.reasoning) == (ANSWER, "Wait, is th")


# --- Usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 50, "total_tokens": 59}, Usage(9, 50, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 50}, Usage(9, 50, 0)),
        (
            {"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}},
            Usage(9, 50, 40),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 50, "reasoning_tokens": 40}, Usage(9, 50, 40)),
        ({"prompt_tokens": 9, "completion_tokens": 10, "total_tokens": 59}, Usage(9, 50, 40)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 10,
                "total_tokens": 59,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            Usage(9, 50, 40),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 10, "reasoning_tokens": 40}, Usage(9, 40, 40)),
        ({"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": None}, Usage(9, 50, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": [1]}, Usage(9, 50, 0)),
        ({"prompt_tokens": "9", "completion_tokens": 50.0}, Usage(9, 50, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": 2**31}, Usage(MAX_TOKENS, MAX_TOKENS, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10**40}, Usage(9, MAX_TOKENS, MAX_TOKENS)),
        *(
            ({"prompt_tokens": odd, "completion_tokens": odd, "total_tokens": odd}, Usage())
            for odd in ("many", "-3", "", -3, 1.5, float("nan"), float("inf"), True, None, [1], {"n": 1})
        ),
        *((odd, Usage()) for odd in (None, [], [1], "19", 19, True, {})),
    ],
)
def test_token_counts_are_read_from_the_usage(usage, counted):
    assert read_reply(body(usage=usage)).usage == counted


# --- Errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", None, "Ice fl"])
@pytest.mark.parametrize(
    ("choice", "status", "quoted"),
    [
        ({"error": {"code": 429, "message": "Upstream is busy"}, "finish_reason": "error"}, 429, "Upstream is busy"),
        ({"error": {"code": "502", "message": "Upstream hung up"}}, 502, "Upstream hung up"),
        ({"error": {"error": {"code": 503, "message": "Wrapped twice"}}}, 503, "Wrapped twice"),
        ({"error": {"message": "Upstream hung up"}, "finish_reason": None}, None, "Upstream hung up"),
        ({"error": "Upstream hung up", "finish_reason": "stop"}, None, "Upstream hung up"),
        ({"finish_reason": "error"}, 500, "finish_reason error"),
        ({"finish_reason": "insufficient_system_resource"}, 503, "insufficient_system_resource"),
    ],
)
def test_a_choice_with_an_error_is_an_error_even_with_a_text(content, choice, status, quoted):
    failed = fail(body(content, choice=choice))
    assert quoted in failed.error.message
    assert failed.error.type == "overload"
    assert failed.error.status_code == status
    assert not failed.empty
    assert failed.usage == Usage(19, 10)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"error": {"message": "Too busy today"}}, "overload"),
        ({"error": {"message": "Too busy today", "code": 429}}, "overload"),
        ({"error": {"message": "Too busy today", "code": "401"}}, "permanent"),
        ({"error": {"message": "Too busy today"}, "status": 401}, "permanent"),
        ({"error": {"message": "Too busy today", "code": "insufficient_quota"}, "status": 429}, "quota"),
        ({"error": "Too busy today"}, "overload"),
        ({"error": "Too busy today", "code": 403}, "permanent"),
        ({"error": "Forbidden", "message": "Too busy today", "statusCode": 403}, "permanent"),
        ({"error": True, "message": "Too busy today"}, "overload"),
        ({"error": ["Too busy today"]}, "overload"),
        ({"error": [{"message": "Too busy today"}]}, "overload"),
        ({"errors": [{"message": "Too busy today"}], "success": False}, "overload"),
        ({"object": "error", "message": "Too busy today", "code": 404}, "permanent"),
        ([{"error": {"code": 503, "message": "Too busy today", "status": "UNAVAILABLE"}}], "overload"),
        ({"detail": "Too busy today"}, "overload"),
        ({"detail": {"reason": "Too busy today"}, "status": 401}, "permanent"),
        ({"object": "error", "message": {"detail": [{"msg": "Too busy today"}]}, "code": 422}, "permanent"),
        ({"error": "Too busy today", "code": "insufficient_quota", "status": 429}, "quota"),
        ({"detail": [{"loc": ["body"], "msg": "Too busy today"}], "status": 422}, "permanent"),
        ({"message": "Too busy today"}, "overload"),
        ({"message": "Too busy today", "code": 401}, "permanent"),
        ({"message": "Too busy today", "status": 503}, "overload"),
        ({"msg": "Too busy today", "code": 500, "success": False}, "overload"),
        (body(choices=None, error={"message": "Too busy today", "code": 503}), "overload"),
        (body(choices=[]) | {"message": "Too busy today"}, "overload"),
        (body(error={"message": "Too busy today", "code": 503}), "overload"),
        (body(error="Too busy today"), "overload"),
    ],
)
def test_an_error_in_place_of_an_answer_is_classified_and_quoted(answer, kind):
    failed = fail(answer)
    assert "Too busy today" in failed.error.message
    assert failed.error.type == kind
    assert not failed.empty


@pytest.mark.parametrize("error", [None, "", {}, [], False, {"message": "", "code": None}])
def test_an_empty_error_field_beside_an_answer_is_ignored(error):
    assert read_reply(body(error=error, choice={"error": error})).text == ANSWER


# --- Empty, refused and unreadable answers -----------------------------------------------------------------------


@pytest.mark.parametrize("choices", [None, []])
def test_an_answer_without_choices_is_empty(choices):
    failed = fail(body(choices=choices, base_resp={"status_msg": "said elsewhere"}))
    assert failed.error.message.startswith("empty answer: it has no choices")
    assert "said elsewhere" in failed.error.message
    assert (failed.error.type, failed.error.cause, failed.empty) == ("overload", "no_answer", True)
    assert failed.usage == Usage(19, 10)


@pytest.mark.parametrize("choice", [{"message": None}, {"message": {}}, {"message": {"content": None}}, {"text": ""}])
def test_an_empty_message_is_an_empty_answer(choice):
    failed = fail(body(choices=[choice]))
    assert failed.error.message == "empty answer"
    assert (failed.error.type, failed.error.cause, failed.empty) == ("overload", "no_answer", True)


def test_an_empty_answer_at_the_token_limit_names_the_setting():
    failed = fail(body("", "length"))
    assert "LLM_MAX_TOKENS" in failed.error.message
    assert failed.empty


@pytest.mark.parametrize(
    ("message", "finish_reason"),
    [
        ({"refusal": "I will not."}, "stop"),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "stop"),
        ({"content": ""}, "content_filter"),
        ({"reasoning_content": THOUGHT}, "SAFETY"),
    ],
)
def test_a_refusal_of_the_model_is_permanent(message, finish_reason):
    failed = fail(body(None, finish_reason, message=message))
    assert (failed.error.type, failed.empty) == ("permanent", False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b" \r\n\n",
        b"\xef\xbb\xbf",
        b"<!doctype html><title>Welcome</title>",
        b"Internal error",
        b"null",
        b"17",
        b'"text"',
        b"[]",
        b"[1, 2]",
        b"{}",
        b'{"status": "ok"}',
        b'{"models": []}',
        b'{"choices": [{"message": {"content": "Ice fl',
        b"data: [DONE]\n\n",
        b'data: {"choices": [{"delta": {"content": "Ice"}}]}\n\ndata: {"choices": [{"de',
        b"[" * 100_000,
        b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' * 100_000,
        b'{"choices": [{"message": {"content": "caf\xe9"}}]}',
        b"\xff\xfe\xff",
        b'{"choices": [{"message": {"content": NaN}}]}',
        b'{"choices": [{"message": {"content": ' + b"9" * 5_000 + b"}}]}",
        b'{"choices": [{"message": {"content": 17}}]}',
        b'{"choices": [{"message": {"content": true}}]}',
        b'{"choices": [{"message": {"content": {"type": "text", "text": "Ice"}}}]}',
        b'{"choices": [{"message": "Ice"}]}',
        b'{"choices": [{"message": ["Ice"]}]}',
        b'{"choices": [{"text": 17}]}',
        b'{"choices": ["Ice"]}',
        b'{"choices": [null]}',
        b'{"choices": {"0": {"message": {"content": "Ice"}}}}',
        b'{"choices": "Ice"}',
        b'{"choices": 17}',
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_invalid_body_is_an_unreadable_answer(answer):
    failed = fail(answer)
    assert failed.error.message.startswith("unreadable answer: ")
    assert (failed.error.type, failed.empty) == ("overload", False)


@pytest.mark.parametrize("depth", [100, 300, 500, 900, 980])
@pytest.mark.parametrize(
    "field", ["content", "thinking", "error", "code", "detail", "model", "usage", "choices", "finish_reason", "refusal"]
)
def test_deeply_nested_json_raises_no_other_error(field, depth):
    for left, right in (("[", "]"), ('{"error": ', "}"), ('{"text": ', "}")):
        nested = f'"{field}": {left * depth}1{right * depth}'
        for answer in (f'{{"message": "x", {nested}}}', f'{{"choices": [{{"message": {{{nested}}}, {nested}}}]}}'):
            assert fail(answer.encode()).error.message


def test_a_web_page_in_place_of_an_answer_is_quoted():
    assert "<title>Welcome</title>" in fail(b"<!doctype html><title>Welcome</title>").error.message


def test_usage_of_an_unreadable_answer_is_counted():
    assert fail(body({"text": ANSWER})).usage == Usage(19, 10)


ANSWER_FIELDS = ("choices", "message", "delta", "content", "text", "type", "reasoning", "refusal", "finish_reason")
OTHER_FIELDS = ("error", "errors", "code", "status", "detail", "object", "usage", "total_tokens", "model", "done")
NAMES = st.sampled_from(ANSWER_FIELDS + OTHER_FIELDS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "text", "429"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, JSON, max_size=5), st.dictionaries(NAMES, JSON, max_size=5), JSON)
def test_arbitrary_json_raises_no_other_error(fields, choice, message):
    for answer in (fields, [fields, choice], {"choices": [choice | {"message": message}]} | fields, body(message)):
        try:
            read_reply(answer)
        except NoCompletion as failed:
            assert failed.error.message  # noqa: PT017


PIECES = [
    b'{"choices": [{"message": {"content": "',
    b'"}}]}',
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"data: ",
    b"\n",
    b"<think>",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=20).map(b"".join))
@example(b'{"choices": [{"message": {"content": "\\ud800\\u0000"}}]}')
def test_arbitrary_bytes_raise_no_other_error(answer):
    try:
        assert read_reply(answer).text
    except NoCompletion as failed:
        assert failed.error.message  # noqa: PT017


# --- Model, reason and text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("m", "m"),
        (["m", "n"], "m"),
        ([None, "", "n"], "n"),
        ([], "asked-model"),
        ([["m"]], "asked-model"),
        ({"id": "m"}, "asked-model"),
        (17, "asked-model"),
        (True, "asked-model"),
        (None, "asked-model"),
        ("", "asked-model"),
        (" ", "asked-model"),
        ("m" * 300, "m" * 200),
        ("a\x00b\ud800", "a\ufffdb?"),
    ],
)
def test_the_model_name_is_made_storable(model, kept):
    assert read_reply(body(model=model)).model == kept


def test_the_requested_model_name_is_made_storable():
    assert read(as_bytes(body(model=None)), "m\x00" * 300, NOW).model == ("m\ufffd" * 100)


@pytest.mark.parametrize(
    ("finish_reason", "kept"),
    [
        ("stop", "stop"),
        ("eos", "eos"),
        ("tool_calls", "tool_calls"),
        (None, "stop"),
        ("", "stop"),
        (["stop"], "stop"),
        ({"type": "stop"}, "stop"),
        (1, "stop"),
        (True, "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("x" * 90, "x" * 50),
        ("a\x00", "a\ufffd"),
    ],
)
def test_the_finish_reason_is_normalised(finish_reason, kept):
    assert read_reply(body(finish_reason=finish_reason)).finish_reason == kept


def test_a_cut_answer_ends_with_its_last_whole_sentence():
    assert read_reply(body("Ice floats. Water expa", "length")).text == "Ice floats."
    assert read_reply(body("<think>One. Two</think>Ice floats. Water expa", "length")).text == "Ice floats."
    assert read_reply(body("Ice floats. Water expa", "stop")).text == "Ice floats. Water expa"


def test_a_long_answer_is_cut_at_the_limit():
    assert read_reply(body("a" * 40_000)).text == "a" * MAX_ANSWER_CHARACTERS


def test_characters_that_cannot_be_stored_are_replaced():
    answer = read_reply(body("a\x00b\ud800", message={"reasoning": "c\x00"}))
    assert (answer.text, answer.reasoning) == ("a\ufffdb?", "c\ufffd")


def test_the_text_field_of_the_old_completions_api_is_read():
    assert read_reply(body(choices=[{"text": f"\n{ANSWER}", "index": 0, "finish_reason": "length"}])).text == ANSWER


# --- Text around the JSON, and streams ---------------------------------------------------------------------------

PLAIN = as_bytes(body())


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN + b"data: [DONE]",
        PLAIN + b"\n\ndata: [DONE]\n\n",
        PLAIN + b"\n<!-- served in 3 ms -->",
        PLAIN + b" trailing text",
        PLAIN + b"\n{}",
        PLAIN + b"\x00",
        b"\xef\xbb\xbf" + PLAIN,
        b"\n\n \r\n" + PLAIN,
        b"\n\n\xef\xbb\xbf" + PLAIN,
        b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" + PLAIN,
        b"[" + PLAIN + b"]",
        PLAIN.decode().encode("utf-16"),
        json.dumps(body(), indent=2).replace("\n", "\r\n").encode(),
        json.dumps(body(note="a\u2028b"), ensure_ascii=False).encode(),
    ],
)
def test_text_around_the_json_is_ignored(answer):
    assert read_reply(answer) == read_reply(PLAIN)


FIRST, SECOND = "Ice floats, ", "as water expands when it freezes."


@pytest.mark.parametrize(
    "answer",
    [
        stream(chunk(role="assistant", content=""), chunk(content=FIRST), chunk(content=SECOND), chunk("stop")),
        stream(chunk(content=FIRST), chunk(content=SECOND), last=""),
        stream(chunk(content=FIRST), chunk(content=SECOND), end="\r\n\r\n"),
        stream(chunk(content=FIRST), chunk(content=SECOND), end="\r\r"),
        stream(chunk(content=FIRST), chunk(content=SECOND), end="\n"),
        stream(": OPENROUTER PROCESSING", chunk(content=FIRST), ": ping", "", chunk(content=SECOND)),
        stream("event: message\nid: 1", chunk(content=FIRST), "event: message\nretry: 10", chunk(content=SECOND)),
        stream(chunk(content=FIRST), "data: ping", chunk(content=SECOND)),
        stream(chunk(content=FIRST), chunk("stop", content=SECOND), {"choices": [], "usage": USAGE}),
        stream(chunk(content=FIRST), chunk(choice={"index": 1}, content="Another."), chunk(content=SECOND)),
        stream(chunk(content=[{"type": "text", "text": FIRST}]), chunk(content=[{"type": "text", "text": SECOND}])),
        stream({"choices": [{"text": FIRST}]}, {"choices": [{"text": SECOND}]}),
        stream(chunk(content=FIRST), chunk(content=SECOND), body(usage=None)),
        stream(body()),
        b'data:{"choices":[{"delta":\ndata:{"content":' + json.dumps(ANSWER).encode() + b"}}]}\n\n",
        b"\n".join(as_bytes(each) for each in (chunk(content=FIRST), chunk(content=SECOND), chunk("stop"))),
        b"".join(as_bytes(each) for each in (chunk(content=FIRST), chunk(content=SECOND))),
        as_bytes([chunk(content=FIRST), chunk(content=SECOND)]),
        b"\xef\xbb\xbf" + stream(chunk(content=FIRST), chunk(content=SECOND)),
        PLAIN,
    ],
)
def test_an_unrequested_stream_is_joined_to_one_answer(answer):
    completion = read_reply(answer)
    assert (completion.text, completion.finish_reason, completion.reasoning) == (ANSWER, "stop", "")


def test_a_stream_is_read_with_model_usage_and_reasoning():
    answer = read_reply(
        stream(
            chunk(reasoning_content="The user ") | {"model": "streamed"},
            chunk(reasoning_content="asks."),
            chunk(content="Ice floats. Wat"),
            chunk("length"),
            {"choices": [], "usage": {**USAGE, "reasoning_tokens": 4}},
        )
    )
    assert answer == Completion("Ice floats.", "streamed", "length", Usage(19, 10, 4), "The user asks.")


def test_a_think_tag_split_between_chunks_is_recognised():
    answer = read_reply(
        stream(chunk(content="<thi"), chunk(content=f"nk>{THOUGHT}</th"), chunk(content=f"ink>{ANSWER}"))
    )
    assert (answer.text, answer.reasoning) == (ANSWER, THOUGHT)


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"code": 503, "message": "Upstream hung up"}},
        {"error": "Upstream hung up", "code": 503},
        {"id": "1", "error": {"code": 503, "message": "Upstream hung up"}, **chunk("error", content="")},
        chunk(choice={"error": {"code": 503, "message": "Upstream hung up"}}),
        f"event: error\ndata: {json.dumps({'message': 'Upstream hung up', 'status': 503})}",
    ],
)
@pytest.mark.parametrize("rest", [[], [chunk("stop", content=SECOND)]])
def test_an_error_in_a_stream_is_raised(event, rest):
    failed = fail(stream(chunk(content=FIRST), event, *rest, {"choices": [], "usage": USAGE}))
    assert "Upstream hung up" in failed.error.message
    assert (failed.error.type, failed.error.status_code, failed.empty) == ("overload", 503, False)
    assert failed.usage == Usage(19, 10)


def test_a_stream_of_reasoning_alone_is_an_empty_answer():
    assert fail(stream(chunk(reasoning_content=THOUGHT), chunk("length"))).error.message == STILL_THINKING


def test_a_stream_without_text_is_an_empty_answer():
    assert fail(stream(chunk(role="assistant"), chunk("stop"))).empty


# --- Ollama's own API --------------------------------------------------------------------------------------------

OLLAMA_END = {"done": True, "done_reason": "stop", "prompt_eval_count": 19, "eval_count": 10}


@pytest.mark.parametrize(
    "lines",
    [
        [{"message": {"content": ANSWER}, **OLLAMA_END}],
        [{"message": {"content": ANSWER, "thinking": THOUGHT}, **OLLAMA_END}],
        [{"response": ANSWER, "thinking": "", **OLLAMA_END}],
        [
            {"message": {"content": FIRST}, "done": False},
            {"message": {"content": SECOND}, "done": False},
            {"message": {"content": ""}, **OLLAMA_END},
        ],
    ],
)
def test_answers_of_ollamas_own_api_are_read(lines):
    answer = read_reply(b"\n".join(as_bytes({"model": "tiny"} | line) for line in lines))
    assert (answer.text, answer.model, answer.finish_reason) == (ANSWER, "tiny", "stop")
    assert answer.usage == Usage(19, 10)


def test_an_error_inside_ollamas_own_stream_is_raised():
    lines = [{"message": {"content": FIRST}, "done": False}, {"error": "runner stopped"}]
    assert "runner stopped" in fail(b"\n".join(map(as_bytes, lines))).error.message


# --- Recorded replies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recorded", [each for each in RECORDED if each.status == 200], ids=lambda each: f"{each.provider}: {each.case}"
)
def test_each_recorded_success_has_the_expected_meaning(recorded):
    answer = recorded.body.encode() if isinstance(recorded.body, str) else recorded.body
    if recorded.meaning == "answer":
        assert read_reply(answer).text == recorded.body["choices"][0]["message"]["content"]
    else:
        failed = fail(answer)
        assert (failed.error.type, failed.empty) == (recorded.meaning, False)
