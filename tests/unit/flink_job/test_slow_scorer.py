"""The client against a scorer that is slow (a fake over real HTTP, on a clock that jumps)."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from flink_job import scoring
from flink_job.scoring import Refused, ScorerClient
from pipeline.routing import BertScore
from score_validator.scoring import STUCK_SECONDS
from tests.unit.flink_job import virtual_clock

RECORDS = 32
QUEUE = 128


class SlowScorer:
    """Computes batches one after the other, as score-validator does; each pair takes its time.

    Attributes:
        computed: Pairs that were computed, whoever waited for them.
        busy: Requests that were answered with 503 as soon as they came.
        most_in_flight: Pairs that waited or were computed at the same time, at most.
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
        # A thread of gunicorn does not know that its caller has gone: it waits for as long as it was asked to.
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


def play(seconds_of, seconds, *first_pairs, queue=QUEUE, records=RECORDS, capacity=RECORDS):
    """Lets as many records wait for scores as Flink does; returns the scorer and the results.

    Args:
        seconds_of: What a pair takes, by its candidate.
        seconds: How long it goes on, no whole number: aiohttp lets time-outs end at whole seconds, and one that ends
            together with the play would hide its end from the task.
        first_pairs: Candidates of the first records; all others are `usual`.
        queue: Pairs that may wait in the scorer.
        records: That wait at the same time.
        capacity: Calls that may be in flight.
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
def test_a_slow_scorer_works_for_those_who_still_wait(seconds_a_pair, least_share):
    seconds = max(120, 40 * seconds_a_pair) + 0.5
    scorer, results = play(lambda _: seconds_a_pair, seconds)
    assert len(results) >= least_share * seconds / seconds_a_pair, f"{len(results)} of {scorer.computed} computed"
    assert all(isinstance(result, BertScore) for _, result in results)


def test_a_pair_that_alone_never_gets_its_score_is_refused_and_the_others_go_on():
    _, results = play(lambda candidate: 200 if candidate == "endless" else 2, 3000.5, "endless")
    [refused] = [result for candidate, result in results if candidate == "endless"]
    assert isinstance(refused, Refused)
    assert refused.status_code == 504
    assert "no answer within 50 s" in refused.message
    others = [result for candidate, result in results if candidate != "endless"]
    assert all(isinstance(result, BertScore) for result in others)
    assert len(others) > 300


def test_no_pair_is_refused_while_all_wait_for_a_scorer_that_computes_nothing():
    scorer, results = play(lambda _: 100_000, 3000.5)
    assert results == []
    assert scorer.most_in_flight <= 3, "the pairs that nobody waits for any more are not kept"


def test_a_scorer_that_gets_fast_again_is_asked_as_much_as_before():
    """Slow for its first 100 pairs."""
    asked = 0

    def seconds_of(_candidate):
        nonlocal asked
        asked += 1
        return 2 if asked <= 100 else 0.05

    scorer, results = play(seconds_of, 300.5)
    assert scorer.most_in_flight == RECORDS
    assert all(isinstance(result, BertScore) for _, result in results)
    assert len(results) > 1000


def test_a_busy_scorer_gets_fewer_calls_instead_of_more():
    scorer, results = play(lambda _: 0.2, 300.5, queue=4)
    assert len(results) > 0.8 * 300 / 0.2
    assert scorer.busy < 0.2 * len(results)


def test_the_longest_time_out_is_below_what_the_scorer_calls_stuck():
    assert scoring.FIRST_TIMEOUT_SECONDS < scoring.LONGEST_TIMEOUT_SECONDS < STUCK_SECONDS


def test_more_samples_than_may_be_in_flight_do_not_time_out_while_they_wait_for_their_turn():
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
