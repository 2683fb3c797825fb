"""Measures the speed of the scorer: `python -m studies.scorer.speed`, in the root of the repository, with torch.

One run, the same texts, the same threads; prints pairs/s and the ratios that matter:

- engine / bert-score called for each pair, and engine / bert-score on the whole list with its best batch size;
- the HTTP service with concurrent clients / the same engine called in this process;
- how much the other precisions change raw F1 of the labelled answers, and whether these keep their order;
- latency of one request without load / the engine called directly.

All ways alternate in rounds, and the best round of each counts. The engines are compared by pairs per second of CPU
time, which other load on the machine changes little. On an idle machine with one thread this equals wall time, which is
also printed. HTTP is compared by wall time and by the CPU time of the service.

The texts are the attempts of the threshold study: three answers for each reference, as in the fleet. bert-score on a
whole list also embeds equal texts only once. `--first` uses only the first answers, so that no two pairs share a
reference. 'References new' starts each round with an empty cache; with 'references known' all are cached.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from score_validator.encoder import Cache
from score_validator.scorer import EncoderScorer, TextPair, load_scorer
from score_validator.settings import Precision, ScorerSettings
from score_validator.torch_encoder import load_bert_scorer
from studies.reporting.statistics import spearman
from studies.threshold.questions import LABELLED_FILE, read_labelled
from studies.threshold.scores import score_all
from studies.threshold.study import ATTEMPTS_FILE, read_attempts

CLIENTS = 32
BATCH_SIZES = (8, 16, 32, 64)
START_SECONDS = 120
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "bf16")


class Rate(NamedTuple):
    """Pairs/s, by CPU time and by wall time."""

    cpu: float
    clock: float


def rate(pairs: Sequence[TextPair], call: Callable[[], object], cpu: Callable[[], float]) -> Rate:
    """Measures one call that scores all the pairs."""
    started, spent = time.perf_counter(), cpu()
    call()
    return Rate(len(pairs) / (cpu() - spent), len(pairs) / (time.perf_counter() - started))


class Service:
    """The HTTP service in a separate process."""

    def __init__(self, settings: ScorerSettings, port: int) -> None:
        """Starts the service and waits until it listens."""
        self.port = port
        environment = os.environ | {
            "SCORER_PORT": str(port),
            "SCORER_THREADS": str(settings.scorer_threads),
            "SCORER_ENCODER_FOLDER": str(settings.scorer_encoder_folder),
            "LOG_LEVEL": "WARNING",
        }
        self.process = subprocess.Popen([sys.executable, "-m", "score_validator"], env=environment)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit("the service did not start") from None
                time.sleep(0.2)

    def cpu(self) -> float:
        """Returns the CPU seconds of the service: gunicorn's arbiter and its worker."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if self.process.pid in (int(stat.parent.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stops the service."""
        self.process.terminate()
        self.process.wait(30)

    def clients(self, pairs: Sequence[TextPair]) -> None:
        """Scores pairs from concurrent clients, each with one connection and one pair a request."""

        def client(own: Sequence[TextPair]) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
            for pair in own:
                post(connection, pair)
            connection.close()

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, [pairs[number::CLIENTS] for number in range(CLIENTS)]))


def post(connection: http.client.HTTPConnection, pair: TextPair) -> None:
    """Scores one pair over HTTP."""
    body = json.dumps({"candidate": pair[0], "reference": pair[1]})
    connection.request("POST", "/score", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content


def latencies(pairs: Sequence[TextPair], calls: Sequence[Callable[[TextPair], object]]) -> list[float]:
    """Returns the medians of calls that alternate, pair by pair."""
    seconds: list[list[float]] = [[] for _ in calls]
    for pair in pairs:
        for own, call in zip(seconds, calls, strict=True):
            started = time.perf_counter()
            call(pair)
            own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in seconds]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=Path, default=ATTEMPTS_FILE)
    parser.add_argument("--first", action="store_true", help="one answer for each reference")
    parser.add_argument("--pairs", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=18_000)
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)

    with options.attempts.open(encoding="utf-8") as lines:
        attempts = [each for each in read_attempts(lines) if each.number == 1 or not options.first]
    pairs = [(attempt.answer, attempt.reference) for attempt in attempts[: options.pairs]]
    candidates, references = map(list, zip(*pairs, strict=True))
    settings = ScorerSettings(scorer_threads=options.threads)
    engine, *others = (
        load_scorer(settings.model_copy(update={"scorer_precision": precision})) for precision in PRECISIONS
    )
    bert, name, _ = load_bert_scorer(settings)
    service = Service(settings, options.port)
    size = settings.scorer_batch

    def known(scorer: EncoderScorer = engine) -> None:
        for start in range(0, len(pairs), size):
            scorer.score(pairs[start : start + size])

    def new() -> None:
        engine._references = Cache(settings.scorer_cache_mb * 1024 * 1024)
        known()

    ways: dict[str, Callable[[], object]] = {
        "bert-score, one pair a call": lambda: [bert.score([first], [second]) for first, second in pairs],
        **{
            f"bert-score, batches of {each}": partial(bert.score, candidates, references, batch_size=each)
            for each in BATCH_SIZES
        },
        "engine, references new": new,
        "engine, references known": known,
        **{
            f"engine {precision}, references known": partial(known, each)
            for precision, each in zip(PRECISIONS[1:], others, strict=True)
        },
        f"HTTP, {CLIENTS} clients, references known": lambda: service.clients(pairs),
    }
    try:
        service.clients(pairs)  # caches the references in the service and the engines
        for each in others:
            known(each)
        rates: dict[str, list[Rate]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, call in ways.items():
                rates[way].append(rate(pairs, call, service.cpu if way.startswith("HTTP") else time.process_time))
        connection = http.client.HTTPConnection("127.0.0.1", options.port, timeout=60)
        some = pairs * options.rounds
        calls = (
            lambda pair: engine.score([pair]),
            lambda pair: post(connection, pair),
            lambda pair: bert.score([pair[0]], [pair[1]]),
        )
        direct, single, slow = latencies(some, calls)
    finally:
        service.stop()

    best = {way: Rate(*map(max, zip(*values, strict=True))) for way, values in rates.items()}
    print(f"{name}, {len(pairs)} pairs, {options.threads} thread(s), best of {options.rounds} rounds, pairs/s")
    for way, value in best.items():
        print(f"  {way:<42} {value.cpu:7.1f} by CPU time {value.clock:7.1f} by the clock")
    alone = best["bert-score, one pair a call"].cpu
    batched = max(best[f"bert-score, batches of {each}"].cpu for each in BATCH_SIZES)
    for way in (each for each in best if each.startswith("engine")):
        cpu = best[way].cpu
        print(f"{way}: {cpu / alone:.2f} x bert-score pair by pair, {cpu / batched:.2f} x its best batches")
    served, in_process_rate = best[f"HTTP, {CLIENTS} clients, references known"], best["engine, references known"]
    labelled = [(each.answer, each.reference) for each in read_labelled(LABELLED_FILE) if each.answer.strip()]
    exact = [each.f1 for each in score_all(engine, labelled)]
    for precision, other in zip(PRECISIONS[1:], others, strict=True):
        found = [each.f1 for each in score_all(other, labelled)]
        moved = [abs(left - right) for left, right in zip(exact, found, strict=True)]
        print(
            f"{precision}: F1 of {len(labelled)} labelled answers moves by {max(moved):.4f} at most, "
            f"{statistics.mean(moved):.4f} in the mean; Spearman {spearman(exact, found):.5f}"
        )
    print(
        f"HTTP / engine, references known: {served.cpu / in_process_rate.cpu:.2f} by CPU time, "
        f"{served.clock / in_process_rate.clock:.2f} by the clock"
    )
    print(
        f"one request with no load: p50 {single * 1e3:.1f} ms, {single / direct:.2f} x the engine called directly",
        end="",
    )
    print(f" ({direct * 1e3:.1f} ms), {single / slow:.2f} x bert-score called directly ({slow * 1e3:.1f} ms)")


if __name__ == "__main__":
    main()
