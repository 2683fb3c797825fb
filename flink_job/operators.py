"""The operators of the job: thin PyFlink wrappers of `scoring` and `decision`."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog
from pyflink.common import Row, Types
from pyflink.datastream import AsyncFunction, FlatMapFunction, RuntimeContext

from flink_job import decision, results
from flink_job.client import Rejected
from flink_job.decision import Record
from flink_job.judging import JudgeClient, When, is_judged
from flink_job.scoring import ScorerClient
from pipeline import logs
from pipeline.messages import InvalidMessage, Judgement
from pipeline.poison import PoisonLimit
from pipeline.routing import BertScore, Gate, NoScore

log = structlog.get_logger(__name__)

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
"""Not a string: bytes that are not UTF-8 would become U+FFFD, and the content of an invalid message would be lost."""

SCORED = Types.ROW_NAMED(
    ["key", "body", "partition", "offset", "score", "judgement"],
    [BYTES, BYTES, Types.INT(), Types.LONG(), Types.STRING(), Types.STRING()],
)
"""A record with the results of the scorer and of the judge as texts (`flink_job.results`); null: there is none."""

OUTGOING = Types.ROW_NAMED(["topic", "key", "body"], [Types.STRING(), BYTES, BYTES])


class ScoreCalculator(AsyncFunction):  # type: ignore[misc]
    """Adds the score to each record that has an answer and either a reference or samples."""

    def __init__(self, url: str, capacity: int) -> None:
        self._url = url
        self._capacity = capacity
        self._client: ScorerClient | None = None

    def open(self, runtime_context: RuntimeContext) -> None:
        """Prepares the worker process."""
        _configure_logs()
        self._client = ScorerClient(self._url, self._capacity)

    async def async_invoke(self, value: Row) -> list[Row]:
        """Returns the record with its score. It never raises: PyFlink would drop the record silently."""
        key, body, partition, offset = value
        result: BertScore | NoScore | Rejected | None = None
        try:
            response = decision.read(Record(key, body, partition, offset))
        except InvalidMessage:
            response = None  # the next stage rejects it with the reason
        if response and response.all_references and self._client:
            result = await self._client.score(response.llm_response, *response.all_references)
        elif response and response.samples and self._client:
            result = await self._client.agreement(response.llm_response, response.samples)
        return [Row(key, body, partition, offset, results.SCORE.dump(result), None)]


class JudgeCaller(AsyncFunction):  # type: ignore[misc]
    """Adds the judgement to each scored record that the judge is asked about."""

    def __init__(self, url: str, model: str, capacity: int, timeout_seconds: float, gate: Gate, when: When) -> None:
        self._url = url
        self._model = model
        self._capacity = capacity
        self._timeout_seconds = timeout_seconds
        self._gate = gate
        self._when = when
        self._client: JudgeClient | None = None

    def open(self, runtime_context: RuntimeContext) -> None:
        """Prepares the worker process."""
        _configure_logs()
        self._client = JudgeClient(self._url, self._model, self._capacity, self._timeout_seconds)

    async def async_invoke(self, value: Row) -> list[Row]:
        """Returns the record with its judgement. It never raises: PyFlink would drop the record silently."""
        key, body, partition, offset, text, _ = value
        judgement: Judgement | None = None
        score = results.SCORE.load(text)
        if isinstance(score, BertScore) and self._client:
            response = decision.read(Record(key, body, partition, offset))  # it was read before it was scored
            if is_judged(response, score, self._gate, self._when):
                judgement = await self._client.judge(response)
        return [Row(key, body, partition, offset, text, results.JUDGEMENT.dump(judgement))]


class DecisionSplitter(FlatMapFunction):  # type: ignore[misc]
    """Converts each scored record into outgoing records, each with its topic."""

    def __init__(self, gate: Gate, poison_limit: int) -> None:
        self._gate = gate
        self._poison_limit = poison_limit

    def open(self, runtime_context: RuntimeContext) -> None:
        """Prepares the worker process."""
        _configure_logs()
        self._poison = PoisonLimit(self._poison_limit)  # created here, because its lock cannot be pickled with the job

    def flat_map(self, value: Row) -> Iterator[Row]:
        """Yields the outgoing records of a record.

        Raises:
            TooManyUnreadable: More unreadable records of a partition than the limit. The job restarts from its
                checkpoint, reads the same records and fails again. So it stops until somebody intervenes, instead of
                draining the topic.
        """
        key, body, partition, offset, score, judgement = value
        record = Record(key, body, partition, offset)
        made = decision.decide(
            record, results.SCORE.load(score), self._gate, datetime.now(UTC), results.JUDGEMENT.load(judgement)
        )
        if made.verdict == "malformed":
            self._poison.rejected(made.log_fields["error"], partition)
        else:
            self._poison.read(partition)
        log_at_level = log.info if made.verdict != "malformed" else log.warning
        log_at_level("decided", decision=made.verdict, **made.log_fields)
        for each in made.sent:
            yield Row(each.topic, each.key, each.value)


def _configure_logs() -> None:
    """Sends this process's events to the TaskManager's log, one JSON object a line.

    A Python worker has no console: Beam's handler sends its records to the JVM, where the logger `PythonWorker` prints
    them. Only the formatter is replaced.
    """
    root = logging.getLogger()
    beam, root.handlers = root.handlers, []  # detached, because `configure` closes all handlers that it finds
    logs.configure("flink-taskmanager")
    formatter = root.handlers[0].formatter
    for handler in beam:
        handler.setFormatter(formatter)
    root.handlers = beam
    for noisy in ("apache_beam", "pyflink"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
