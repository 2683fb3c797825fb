"""The command line with the API on fakes over HTTP, and its parts with a scripted API."""

import threading
import time

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from pipeline.api_client import QuestionState, RequestFailed
from pipeline.question import question_id
from storage_service import retry_failed
from storage_service.retry_failed import find, line_of, main, retry_all
from storage_service.schemas import FailedFilter, FailedQuestion
from tests.unit.samples import NOW


def failed_question(number, text="Why?"):
    return FailedQuestion(
        question_id=f"{number:032x}",
        question_text=text,
        reason="malformed",
        last_error="x",
        retry_count=0,
        failed_at=NOW,
    )


def busy(retry_after_seconds):
    return RequestFailed("503 busy", status=503, retry_after_seconds=retry_after_seconds)


class Api:
    """Fake endpoints; `script` holds the results of retries, and the last one repeats."""

    def __init__(self, *script, count=0):
        self.script = list(script) or ["pending"]
        self.questions = [failed_question(number) for number in range(count)]
        self.offsets = []
        self.retried = []

    def get(self, path, kind, params):
        self.offsets.append(params["offset"])
        page = self.questions[params["offset"] :][: params["limit"]]
        return kind(total=len(self.questions), failed=page)

    def retry(self, question_id):
        self.retried.append(question_id)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return QuestionState(question_id=question_id, status=step)


def retried(api, count=3, rate=1e6, stop=None, tell=lambda report: None):
    return retry_all(api, [failed_question(number) for number in range(count)], rate, stop or threading.Event(), tell)


@pytest.mark.parametrize(
    ("count", "limit", "offsets"),
    [
        (0, None, [0]),
        (199, None, [0]),
        (200, None, [0, 200]),
        (450, None, [0, 200, 400]),
        (450, 200, [0]),
        (450, 3, [0]),
    ],
)
def test_all_pages_of_failed_questions_are_read(count, limit, offsets):
    api = Api(count=count)
    found = find(api, FailedFilter(), limit)
    assert [each.question_id for each in found] == [each.question_id for each in api.questions[:limit]]
    assert api.offsets == offsets


def test_each_question_is_retried_once_oldest_first():
    api, reported_counts = Api(), []
    report = retried(api, tell=lambda report: reported_counts.append(report.done))
    assert api.retried == [failed_question(number).question_id for number in (2, 1, 0)]
    assert report.ok
    assert reported_counts == [1, 2, 3]


def test_retries_keep_to_the_rate():
    started = time.monotonic()
    retried(Api(), count=5, rate=20)
    assert time.monotonic() - started >= 4 / 20


def test_an_unavailable_service_is_called_again_after_retry_after():
    api = Api(busy(0.01), busy(0.01), "pending")
    report = retried(api, count=1)
    assert (report.ok, len(api.retried)) == (True, 3)


def test_the_run_ends_when_the_service_stays_unavailable():
    api = Api(busy(0))
    report = retried(api)
    assert (report.ok, len(api.retried)) == (False, retry_failed.MAX_TRIES)
    assert report.stopped == "gave up: 503 busy"
    assert dict(report.rows())["not tried"] == 2


def test_the_run_continues_after_failed_retries():
    errors = (RequestFailed("500 oops", status=500), RequestFailed("404 Not Found", status=404))
    report = retried(Api(*errors, "completed"))
    assert not report.ok
    assert dict(report.rows()) == {
        "found": 3,
        "restarted": 0,
        "no longer failed": 1,
        "unknown": 1,
        "error": 1,
        "not tried": 0,
    }


def test_a_stop_ends_the_run_with_a_report():
    stop = threading.Event()
    report = retried(Api(), rate=0.01, stop=stop, tell=lambda report: stop.set())
    assert (report.done, report.found, report.stopped, report.ok) == (1, 3, "stopped before the end", False)


def test_a_stop_ends_the_wait_for_an_unavailable_service():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    report = retried(Api(busy(60)), stop=stop)
    assert report.stopped == "stopped before the end"


def test_control_characters_in_a_question_do_not_break_its_line():
    line = line_of(failed_question(1, "Why\n is\tthe \x1b[31msky\u202e blue?"))
    assert line.endswith("malformed  Why is the \ufffd[31msky\ufffd blue?")
    assert f"{1:032x}  2026-01-02T03:04:05Z" in line


@pytest.fixture
def base_url(fleet):
    """Serves the service on fakes, with two failed questions, and yields its address."""
    for text in ("Why is the sky blue?", "Is it malformed?"):
        fleet.ask(text)
        fleet.records.fail(question_id(text))
    server = make_server("127.0.0.1", 0, fleet.api, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_a_dry_run_lists_questions_and_retries_none(fleet, base_url):
    done = run("--url", base_url, "--dry-run")
    assert done.exit_code == 0, done.output
    assert question_id("Why is the sky blue?") in done.stdout
    assert len(done.stdout.splitlines()) == 2
    assert "2 would be retried" in done.stderr
    assert len(fleet.publisher.sent) == 2


def test_questions_are_retried_over_http(fleet, base_url):
    done = run("--url", base_url, "--rate", "1000", "--until", "2027-01-01")
    assert done.exit_code == 0, done.output
    assert len(fleet.publisher.sent) == 4
    assert "restarted" in done.stdout
    assert run("--url", base_url, "--dry-run").stdout == ""


def test_filters_of_the_command_line_reach_the_service(fleet, base_url):
    done = run(
        *("--url", base_url, "--dry-run"),
        *("--reason", "patience_exhausted", "--text", "50%", "--since", "2026-01-31T13:00:00+01:00"),
    )
    assert done.exit_code == 0, done.output
    wanted = fleet.records.wanted
    assert (wanted.reason, wanted.text) == ("patience_exhausted", "50%")
    assert wanted.since.isoformat() == "2026-01-31T12:00:00+00:00"
    assert wanted.until is not None


def test_an_unavailable_database_is_one_line_of_error(fleet, base_url):
    fleet.records.unavailable = True
    done = run("--url", base_url)
    assert (done.exit_code, done.stderr.strip()) == (
        1,
        "Error: 503 Service Unavailable: PostgreSQL: connection refused",
    )


def test_an_unreachable_service_is_one_line_of_error():
    done = run("--url", "http://127.0.0.1:1")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "cannot reach http://127.0.0.1:1: Connection refused" in done.stderr


@pytest.mark.parametrize(
    "wrong", [["--rate", "0"], ["--limit", "0"], ["--reason", "bored"], ["--since", "soon"], ["--text", ""]]
)
def test_an_invalid_option_is_named(wrong):
    done = run(*wrong)
    assert done.exit_code == 2
    assert wrong[0] in done.stderr
