"""The client against a slow fake scorer, over real HTTP and on a virtual clock."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from flink_job import scoring
from flink_job.client import Rejected
from flink_job.scoring import ScorerClient
from pipeline.routing import BertScore
from score_validator.scoring import STUCK_SECONDS
from tests.unit.flink_job import virtual_clock

RECORDS = 32
QUEUE = 128


class SlowScorer:
    """Fake scorer that computes batches one after the other, as score-validator does.

    Attributes:
        computed: Number of pairs computed, including those whose callers had timed out.
        busy: Number of requests answered with 503 at once because the queue was full.
        most_in_flight: Highest number of pairs that waited or were computed at the same time.
    """

    def __init__(self, seconds_of, queue=QUEUE):
        self._seconds_of = seconds_of
        self._queue = queue
        self._waiting = []
        self._in_model = []
        self._began = 0.0
        self._estimate = 5.0
        self._arrived = asyncio.Event()
        self.computed = 0
        self.busy = 0
        self.most_in_flight = 0

    async def compute(self):
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                room = max(1, min(32, int(5 / self._estimate)))
                self._in_model, self._waiting = self._waiting[:room], self._waiting[room:]
                self._began = now()
                seconds = sum(self._seconds_of(candidate) for candidate, _ in self._in_model)
                await asyncio.sleep(seconds)
                seconds /= len(self._in_model)
                self._estimate = max(seconds, self._estimate + (seconds - self._estimate) / 10)
                for _, done in self._in_model:
                    self.computed += 1
                    if not done.done():
                        done.set_result(None)
                self._in_model = []

    async def score(self, request):
        pair = await request.json()
        wait = float(request.headers.get("Prefer", "wait=inf").removeprefix("wait="))
        if len(self._waiting) + len(self._in_model) >= self._queue:
            self.busy += 1
            return web.Response(status=503, headers={"Retry-After": "5"})
        entry = pair["candidate"], asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        self._arrived.set()
        self.most_in_flight = max(self.most_in_flight, len(self._waiting) + len(self._in_model))
        # A gunicorn thread does not notice that its caller has disconnected: it waits as long as the header says.
        await asyncio.wait([entry[1]], timeout=None if wait == float("inf") else wait)
        if entry[1].done():
            return web.json_response({"score": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "scorer": "slow"})
        if entry in self._waiting:
            self._waiting.remove(entry)
        begun = entry in self._in_model and 2 * (now() - self._began) >= wait
        return web.Response(status=504 if begun else 503)


def now():
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def server_of(scorer):
    app = web.Application()
    app.router.add_post("/score", scorer.score)
    server = TestServer(app)
    await server.start_server(access_log=None)
    yield server
    await server.close()


def simulate(seconds_of, seconds, *first_pairs, queue=QUEUE, records=RECORDS, capacity=RECORDS):
    """Scores records concurrently, as Flink does; returns the scorer and the results.

    Args:
        seconds_of: Function from a candidate to the seconds that its pair takes.
        seconds: Length of the simulation, not a whole number: aiohttp rounds time-outs to whole seconds, and one that
            ends together with the simulation would hide the cancellation from the task.
        first_pairs: Candidates of the first records; all other candidates are `usual`.
        queue: Number of pairs that may wait in the scorer.
        records: Number of records that wait at the same time.
        capacity: Number of calls that may be in flight.
    """

    async def main():
        scorer = SlowScorer(seconds_of, queue)
        results = []
        async with server_of(scorer) as server:
            client = ScorerClient(str(server.make_url("")), capacity)

            async def stream(first):
                for number in range(10_000):
                    candidate = first if number == 0 and first else "usual"
                    results.append((candidate, await client.score(candidate, "a reference")))

            firsts = [*first_pairs, *[None] * (records - len(first_pairs))]
            tasks = [asyncio.create_task(each) for each in (scorer.compute(), *map(stream, firsts))]
            await asyncio.wait(tasks, timeout=seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()
        return scorer, results

    return virtual_clock.run(main())


@pytest.mark.parametrize(("seconds_a_pair", "least_share"), [(0.05, 0.9), (0.6, 0.7), (1, 0.7), (5, 0.6), (30, 0.3)])
def test_a_slow_scorer_spends_most_of_its_time_on_pairs_that_have_not_timed_out(seconds_a_pair, least_share):
    seconds = max(120, 40 * seconds_a_pair) + 0.5
    scorer, results = simulate(lambda _: seconds_a_pair, seconds)
    assert len(results) >= least_share * seconds / seconds_a_pair, f"{len(results)} of {scorer.computed} computed"
    assert all(isinstance(result, BertScore) for _, result in results)


def test_a_pair_that_always_times_out_alone_is_refused_and_the_others_are_scored():
    _, results = simulate(lambda candidate: 200 if candidate == "endless" else 2, 3000.5, "endless")
    [refused] = [result for candidate, result in results if candidate == "endless"]
    assert isinstance(refused, Rejected)
    assert refused.status_code == 504
    assert "no answer within 50 s" in refused.message
    others = [result for candidate, result in results if candidate != "endless"]
    assert all(isinstance(result, BertScore) for result in others)
    assert len(others) > 300


def test_no_pair_is_refused_while_the_scorer_computes_nothing():
    scorer, results = simulate(lambda _: 100_000, 3000.5)
    assert results == []
    assert scorer.most_in_flight <= 3, "calls that timed out are still in flight"


def test_a_scorer_that_becomes_fast_again_gets_full_concurrency():
    """The scorer is slow for the first 100 pairs."""
    asked = 0

    def seconds_of(_candidate):
        nonlocal asked
        asked += 1
        return 2 if asked <= 100 else 0.05

    scorer, results = simulate(seconds_of, 300.5)
    assert scorer.most_in_flight == RECORDS
    assert all(isinstance(result, BertScore) for _, result in results)
    assert len(results) > 1000


def test_a_busy_scorer_gets_fewer_calls():
    scorer, results = simulate(lambda _: 0.2, 300.5, queue=4)
    assert len(results) > 0.8 * 300 / 0.2
    assert scorer.busy < 0.2 * len(results)


def test_the_longest_timeout_is_below_the_stuck_limit_of_the_scorer():
    assert scoring.TIMEOUTS.first_seconds < scoring.TIMEOUTS.longest_seconds < STUCK_SECONDS


def test_samples_waiting_for_a_free_slot_do_not_time_out():
    """Eight calls for each record, one at a time, 12 s each: the last one of 32 begins after minutes."""

    async def main():
        scorer = SlowScorer(lambda _: 12)
        async with server_of(scorer) as server:
            client = ScorerClient(str(server.make_url("")), 1)
            computing = asyncio.create_task(scorer.compute())
            await asyncio.gather(*(client.agreement("answer", ["sample"] * 8) for _ in range(4)))
            computing.cancel()
            await client.close()
        return scorer.computed

    assert virtual_clock.run(main()) == 32
