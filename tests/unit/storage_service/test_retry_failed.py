"""The command line against the API on fakes, served over HTTP, and its parts against a scripted API."""

import threading
import time

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from pipeline.question import question_id
from storage_service import retry_failed
from storage_service.retry_failed import Away, RequestFailed, find, line_of, main, retry_all
from storage_service.schemas import FailedFilter, FailedPage, FailedQuestion
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


class Api:
    """The endpoints as a test scripts them: what each retry does, the last for ever."""

    def __init__(self, *script, count=0):
        self.script = list(script) or ["started anew"]
        self.questions = [failed_question(number) for number in range(count)]
        self.offsets = []
        self.retried = []

    def failed(self, wanted):
        self.offsets.append(wanted.offset)
        return FailedPage(total=len(self.questions), failed=self.questions[wanted.offset :][: wanted.limit])

    def retry(self, question_id):
        self.retried.append(question_id)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step


def retried(api, count=3, rate=1e6, stop=None, tell=lambda report: None):
    return retry_all(api, [failed_question(number) for number in range(count)], rate, stop or threading.Event(), tell)


@pytest.mark.parametrize(
    ("count", "most", "offsets"),
    [
        (0, None, [0]),
        (199, None, [0]),
        (200, None, [0, 200]),
        (450, None, [0, 200, 400]),
        (450, 200, [0]),
        (450, 3, [0]),
    ],
)
def test_all_pages_are_read(count, most, offsets):
    api = Api(count=count)
    found = find(api, FailedFilter(), most)
    assert [each.question_id for each in found] == [each.question_id for each in api.questions[:most]]
    assert api.offsets == offsets


def test_each_is_retried_once_the_oldest_first():
    api, seen = Api(), []
    report = retried(api, tell=lambda report: seen.append(report.done))
    assert api.retried == [failed_question(number).question_id for number in (2, 1, 0)]
    assert report.ok
    assert seen == [1, 2, 3]


def test_rate_is_kept():
    started = time.monotonic()
    retried(Api(), count=5, rate=20)
    assert time.monotonic() - started >= 4 / 20


def test_an_absent_service_is_asked_again_when_it_says():
    api = Api(Away("503 busy", 0.01), Away("503 busy", 0.01), "started anew")
    report = retried(api, count=1)
    assert (report.ok, len(api.retried)) == (True, 3)


def test_a_service_that_stays_away_ends_the_run():
    api = Api(Away("503 busy", 0))
    report = retried(api)
    assert (report.ok, len(api.retried)) == (False, retry_failed.MAX_TRIES)
    assert report.stopped == "gave up: 503 busy"
    assert dict(report.rows())["not tried"] == 2


def test_a_refusal_does_not_end_the_run():
    report = retried(Api(RequestFailed("500 oops"), "unknown", "not failed any longer"))
    assert not report.ok
    assert dict(report.rows()) == {
        "found": 3,
        "started anew": 0,
        "not failed any longer": 1,
        "unknown": 1,
        "error": 1,
        "not tried": 0,
    }


def test_a_stop_ends_it_with_a_report():
    stop = threading.Event()
    report = retried(Api(), rate=0.01, stop=stop, tell=lambda report: stop.set())
    assert (report.done, report.found, report.stopped, report.ok) == (1, 3, "stopped before the end", False)


def test_a_stop_ends_the_wait_for_an_absent_service():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    report = retried(Api(Away("503 busy", 60)), stop=stop)
    assert report.stopped == "stopped before the end"


def test_a_line_stays_a_line():
    line = line_of(failed_question(1, "Why\n is\tthe \x1b[31msky\u202e blue?"))
    assert line.endswith("malformed  Why is the \ufffd[31msky\ufffd blue?")
    assert f"{1:032x}  2026-01-02T03:04:05Z" in line


@pytest.fixture
def served(fleet):
    """The service on its fakes with two failed questions, and its address."""
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


def test_dry_run_lists_and_leaves_alone(fleet, served):
    done = run("--url", served, "--dry-run")
    assert done.exit_code == 0, done.output
    assert question_id("Why is the sky blue?") in done.stdout
    assert len(done.stdout.splitlines()) == 2
    assert "2 would be retried" in done.stderr
    assert len(fleet.publisher.sent) == 2


def test_questions_are_retried_over_http(fleet, served):
    done = run("--url", served, "--rate", "1000", "--until", "2027-01-01")
    assert done.exit_code == 0, done.output
    assert len(fleet.publisher.sent) == 4
    assert "started anew" in done.stdout
    assert run("--url", served, "--dry-run").stdout == ""


def test_filter_reaches_the_service(fleet, served):
    done = run(
        *("--url", served, "--dry-run"),
        *("--reason", "patience_exhausted", "--text", "50%", "--since", "2026-01-31T13:00:00+01:00"),
    )
    assert done.exit_code == 0, done.output
    wanted = fleet.records.wanted
    assert (wanted.reason, wanted.text) == ("patience_exhausted", "50%")
    assert wanted.since.isoformat() == "2026-01-31T12:00:00+00:00"
    assert wanted.until is not None


def test_database_away_is_one_line(fleet, served):
    fleet.records.away = True
    done = run("--url", served)
    assert (done.exit_code, done.stderr.strip()) == (
        1,
        "Error: 503 Service Unavailable: PostgreSQL: connection refused",
    )


def test_nobody_there_is_one_line():
    done = run("--url", "http://127.0.0.1:1")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "cannot reach http://127.0.0.1:1: Connection refused" in done.stderr


@pytest.mark.parametrize(
    "wrong", [["--rate", "0"], ["--limit", "0"], ["--reason", "bored"], ["--since", "soon"], ["--text", ""]]
)
def test_wrong_usage_names_the_option(wrong):
    done = run(*wrong)
    assert done.exit_code == 2
    assert wrong[0] in done.stderr
