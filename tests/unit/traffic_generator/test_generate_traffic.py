"""Tests of the command line with a scripted storage service over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import traffic_generator
from traffic_generator import generate_traffic
from traffic_generator.plan import Traffic
from traffic_generator.settings import TrafficSettings

from .conftest import DEADLINE_SECONDS, Storage, problem, reply

FOLDER = Path(traffic_generator.__file__).parent


def run(*arguments: str | float | Path) -> Result:
    return CliRunner().invoke(generate_traffic.main, [str(argument) for argument in arguments])


@pytest.fixture
def ask(storage: Storage, dataset_path: Path):
    fixed = ("--url", storage.url, "--dataset", dataset_path, "--interval", "0", "--timeout", DEADLINE_SECONDS)
    return lambda *arguments: run(*fixed, *arguments)


def test_twenty_distinct_questions_are_asked_by_default(storage: Storage, ask) -> None:
    result = ask()
    assert result.exit_code == 0, result.output
    assert len(set(storage.texts)) == len(storage.texts) == 20
    assert storage.polls == {}
    assert storage.queries[0].keys() == {"question_text", "original_answer", "topic"}


def test_the_table_shows_counts_and_a_dash_for_values_not_measured(storage: Storage, ask) -> None:
    storage.on_query = lambda body, question_id: (
        reply({"status": "completed", "source": "cache", "question_id": question_id, "result": {}})
        if len(storage.queries) % 2
        else reply({"status": "pending", "question_id": question_id}, 202)
    )
    result = ask("--num-requests", "2")
    rows = dict(re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines() if "   " in line.strip())
    assert rows["asked"] == "2"
    assert int(rows["cached (answered at once)"].split()[0]) + int(rows["pending (no answer yet)"]) == 2
    assert rows["answer p50 / p95"] == "-"
    assert rows["reply p50 / p95"] != "-"
    assert "asked 2" in result.stderr


def test_the_same_seed_asks_the_same_questions(storage: Storage, ask) -> None:
    for _ in range(2):
        assert ask("--num-requests", "6", "--seed", "7").exit_code == 0
    first, second = storage.texts[:6], storage.texts[6:]
    assert sorted(first) == sorted(second)
    ask("--num-requests", "6", "--seed", "8")
    assert sorted(storage.texts[12:]) != sorted(first)


def test_a_random_seed_is_reported_and_can_be_reused(storage: Storage, ask) -> None:
    seed = json.loads(ask("--num-requests", "6", "--json").stdout)["seed"]
    ask("--num-requests", "6", "--seed", str(seed))
    assert sorted(storage.texts[:6]) == sorted(storage.texts[6:])


def test_the_json_report_is_the_only_output_on_stdout(storage: Storage, ask) -> None:
    result = ask("--num-requests", "3", "--json", "--wait")
    report = json.loads(result.stdout)
    assert (report["asked"], report["accepted"], report["completed"], report["pending"]) == (3, 3, 3, 0)
    assert report["url"] == storage.url
    assert report["ok"] is True
    assert report["answer_latency_ms"]["p95"] >= report["reply_latency_ms"]["p50"] > 0
    assert "asked 3" in result.stderr
    assert ask("--json", "--quiet").stderr == ""


def test_wait_continues_until_all_questions_are_completed(storage: Storage, ask) -> None:
    storage.on_status = lambda question_id, poll: reply(
        {"question_id": question_id, "status": "completed" if poll == 2 else "pending", "result": None, "error": None}
    )
    result = ask("--num-requests", "4", "--wait", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["completed"] == 4
    assert {len(waits) for waits in storage.polls.values()} == {2}
    assert {0 < int(wait or 0) <= 30 for waits in storage.polls.values() for wait in waits} == {True}


def test_a_failed_question_is_exit_status_1(storage: Storage, ask) -> None:
    storage.on_status = lambda question_id, poll: reply(
        {"question_id": question_id, "status": "failed", "result": None, "error": {"reason": "retries_exhausted"}}
    )
    result = ask("--num-requests", "2", "--wait")
    assert result.exit_code == 1
    assert "2 x failed: retries_exhausted" in result.stdout


def test_a_timeout_is_exit_status_1(storage: Storage, ask) -> None:
    storage.on_status = lambda question_id, poll: reply({"question_id": question_id, "status": "pending"})
    result = ask("--num-requests", "2", "--wait", "--timeout", "0.3")
    assert result.exit_code == 1
    assert "timed out with 2 questions pending" in result.stdout


def test_an_error_reply_is_exit_status_1_and_reported(storage: Storage, ask) -> None:
    storage.on_query = lambda body, question_id: problem(503, "Service Unavailable", "the broker is down [kafka:9092]")
    result = ask("--num-requests", "3")
    assert result.exit_code == 1
    assert "3 x 503 Service Unavailable: the broker is down [kafka:9092]" in result.stdout


def test_a_server_that_is_down_is_exit_status_1_with_counts(dataset_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = run("--url", url, "--dataset", dataset_path, "--num-requests", "3", "--interval", "0")
    assert result.exit_code == 1
    assert re.search(r"errors +3\b", result.stdout)
    assert f"3 x cannot reach {url}: Connection refused" in result.stdout


def test_slow_replies_do_not_delay_the_next_question(storage: Storage, ask) -> None:
    all_arrived = threading.Barrier(8)

    def on_query(body: dict, question_id: str):
        all_arrived.wait(DEADLINE_SECONDS)  # broken if requests arrive one after another: the server answers 500
        return reply({"status": "pending", "question_id": question_id}, 202)

    storage.on_query = on_query
    report = json.loads(ask("--num-requests", "8", "--interval", "10", "--json").stdout)
    assert (report["pending"], report["errors"]) == (8, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--num-requests", "0"),
        ("--interval", "-1"),
        ("--timeout", "-1"),
        ("--url", "storage-service:5001"),
        ("--seed", "x"),
        ("--rate", "0"),
        ("--duration", "0"),
        ("--distribution", "normal"),
        ("--arrivals", "late"),
        ("--zipf-exponent", "0"),
        ("--burst-size", "0"),
        ("--concurrency", "0"),
        ("--concurrency", "513"),
        ("--sample", "0"),
        ("--nonsense",),
    ],
)
def test_an_invalid_option_is_exit_status_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rate 2 --interval 500", "--rate R and --interval MS both set the pace: give one"),
        ("--duration 5 --num-requests 20", "--duration and --num-requests both say when to stop: give one"),
        ("--duration 5 --interval 0", "--duration needs a pace: --rate, or --interval above 0"),
        ("--distribution poisson --interval 0", "poisson arrivals need a pace: --rate, or --interval above 0"),
        ("--arrivals burst --interval 0", "burst arrivals need a pace"),
        (
            "--distribution burst --arrivals poisson",
            "--distribution burst and --arrivals poisson both set when questions come",
        ),
        (
            "--distribution poisson --arrivals steady",
            "--distribution poisson and --arrivals steady both set when questions come",
        ),
        ("--burst-size 5", "--burst-size is for --arrivals burst"),
        ("--distribution poisson --burst-size 5", "--burst-size is for --arrivals burst"),
        ("--zipf-exponent 1", "--zipf-exponent is for --distribution zipf"),
        ("--distribution uniform --zipf-exponent 1", "--zipf-exponent is for --distribution zipf"),
        ("--distribution zipf --unique", "--unique makes each question a new one"),
        ("--rate 1000 --duration 3600", "that would be 3,600,000 questions, more than 1,000,000"),
    ],
)
def test_options_that_exclude_each_other_are_reported(storage: Storage, arguments: str, message: str) -> None:
    result = run("--url", storage.url, *arguments.split())
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert storage.queries == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {"distribution": "shuffled", "arrivals": "steady", "rate_per_second": 2.0, "questions": 40}),
        ("--rate 50 --distribution uniform", {"distribution": "uniform", "arrivals": "steady", "rate_per_second": 50}),
        ("--rate 50 --distribution zipf", {"distribution": "zipf", "zipf_exponent": 1.0, "burst_size": None}),
        ("--rate 50 --distribution burst", {"distribution": "uniform", "arrivals": "burst", "burst_size": 10}),
        ("--rate 50 --distribution poisson", {"distribution": "uniform", "arrivals": "poisson"}),
        ("--rate 50 --arrivals poisson", {"distribution": "shuffled", "arrivals": "poisson"}),
        ("--rate 50 --distribution burst --arrivals burst --burst-size 3", {"arrivals": "burst", "burst_size": 3}),
        (
            "--rate 50 --distribution zipf --zipf-exponent 0.7 --arrivals burst",
            {"distribution": "zipf", "zipf_exponent": 0.7, "arrivals": "burst"},
        ),
    ],
)
def test_the_report_describes_the_traffic(
    storage: Storage, dataset_path: Path, arguments: str, expected: dict[str, object]
) -> None:
    fixed = ("--url", storage.url, "--dataset", dataset_path, "--num-requests", "2", "--json", "--quiet")
    result = run(*fixed, *arguments.split())
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["traffic"].items() >= expected.items()


def cache_from_the_second_request_on(storage: Storage) -> None:
    """Scripts a service that answers at once: a new question is pending, a repeated one is in the cache."""
    known: set[str] = set()

    def on_query(body: dict, question_id: str):
        with storage.lock:
            is_known = question_id in known
            known.add(question_id)
        if is_known:
            return reply({"status": "completed", "source": "cache", "question_id": question_id, "result": {}})
        return reply({"status": "pending", "question_id": question_id}, 202)

    storage.on_query = on_query


@pytest.mark.parametrize("distribution", ["uniform", "zipf", "shuffled"])
def test_the_hit_rate_of_a_cache_without_expiry_is_as_predicted(storage: Storage, ask, distribution: str) -> None:
    cache_from_the_second_request_on(storage)
    report = json.loads(ask("--num-requests", "100", "--distribution", distribution, "--seed", "3", "--json").stdout)
    hits = report["hits"]
    assert hits["rate"] == pytest.approx(hits["repeated"] / 100)
    assert hits["distinct"] == len(set(storage.texts))
    assert abs(hits["rate"] - hits["rate_predicted"]) <= 3 * hits["rate_deviation"]
    assert 0.4 < hits["rate_predicted"] < 0.8


def test_a_duration_asks_rate_times_duration_questions(storage: Storage, dataset_path: Path) -> None:
    result = run(
        "--url", storage.url, "--dataset", dataset_path, "--rate", "40", "--duration", "0.5", "--json", "--quiet"
    )
    report = json.loads(result.stdout)
    assert (report["asked"], report["requested"]) == (20, 20)
    assert report["duration_seconds"] >= 19 / 40


def test_unique_questions_are_never_repeated(storage: Storage, ask) -> None:
    runs = [json.loads(ask("--num-requests", "50", "--unique", "--seed", "7", "--json").stdout) for _ in range(2)]
    asked = [(body["question_text"], body["question_context"]) for body in storage.queries]
    assert len(set(asked)) == len(asked) == 100
    assert sorted(storage.texts[:50]) == sorted(storage.texts[50:])
    assert [each["hits"]["rate_predicted"] for each in runs] == [0.0, 0.0]
    assert runs[0]["traffic"]["run"] != runs[1]["traffic"]["run"]


def test_concurrency_limits_the_requests_in_flight(storage: Storage, ask) -> None:
    in_flight, most = 0, 0

    def on_query(body: dict, question_id: str):
        nonlocal in_flight, most
        with storage.lock:
            in_flight += 1
            most = max(most, in_flight)
        threading.Event().wait(0.02)  # simulates the time of a reply
        with storage.lock:
            in_flight -= 1
        return reply({"status": "pending", "question_id": question_id}, 202)

    storage.on_query = on_query
    assert ask("--num-requests", "12", "--concurrency", "3").exit_code == 0
    assert most == 3


def test_the_default_concurrency_depends_on_the_rate() -> None:
    assert generate_traffic._concurrency(Traffic(0.5)) == 61
    assert generate_traffic._concurrency(Traffic(0.0)) == 32
    assert generate_traffic._concurrency(Traffic(0.001)) == 512


def test_a_sample_of_the_question_set_is_asked_and_reported(storage: Storage, dataset_path: Path) -> None:
    fixed = ("--url", storage.url, "--dataset", dataset_path, "--interval", "0", "--sample", "10")
    result = run(*fixed, "--num-requests", "30")
    assert len(set(storage.texts)) == 10
    assert "10 of 40 questions" in result.stdout


def test_an_unreadable_question_set_is_exit_status_2(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text("topic,question_text\nscience,Why?\n")
    result = run("--url", storage.url, "--dataset", path)
    assert result.exit_code == 2
    assert f"{path}, line 1: no column question_context, original_answer" in result.stderr
    assert storage.queries == []


def test_the_url_is_read_from_the_environment(
    storage: Storage, dataset_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_URL", storage.url)
    assert run("--dataset", dataset_path, "--num-requests", "1").exit_code == 0
    assert len(storage.queries) == 1
    monkeypatch.setenv("STORAGE_URL", "nowhere")
    result = run("--dataset", dataset_path, "--num-requests", "1")
    assert result.exit_code == 2
    assert "STORAGE_URL" in result.stderr


def start(storage: Storage, dataset_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the script as in the container: from its folder, with the parent folder in PYTHONPATH."""
    return subprocess.Popen(
        [sys.executable, "generate_traffic.py", "--url", storage.url, "--dataset", str(dataset_path), *arguments],
        cwd=FOLDER,
        env=os.environ | {"PYTHONPATH": str(FOLDER.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_script_runs_from_its_folder(storage: Storage, dataset_path: Path) -> None:
    process = start(storage, dataset_path, "--num-requests", "2", "--interval", "0")
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    assert re.search(r"asked +2\b", output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_the_report_is_printed(
    storage: Storage, dataset_path: Path, number: signal.Signals
) -> None:
    arrived = threading.Event()

    def on_query(body: dict, question_id: str):
        arrived.set()
        return reply({"status": "pending", "question_id": question_id}, 202)

    storage.on_query = on_query
    # The interval is long, so that only a stop can end the run within the deadline.
    process = start(storage, dataset_path, "--num-requests", "30", "--interval", "60000", "--json", "--wait")
    assert arrived.wait(DEADLINE_SECONDS)
    process.send_signal(number)
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1, errors
    report = json.loads(output)
    assert (report["asked"], report["requested"], report["interrupted"]) == (1, 30, True)
    assert "Traceback" not in errors


def test_help_has_examples() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "python generate_traffic.py --num-requests 50 --interval 500" in result.stdout


def test_the_document_names_each_option_and_setting() -> None:
    document = (FOLDER.parent / "docs" / "traffic.md").read_text(encoding="utf-8")
    options = {name for option in generate_traffic.main.params for name in (*option.opts, *option.secondary_opts)}
    settings = {name.upper() for name in TrafficSettings.model_fields} - {"METRICS_PORT"}
    assert {name for name in options | settings if f"`{name}" not in document} == set()
