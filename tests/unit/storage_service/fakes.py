"""In-memory fakes of what storage-service talks to: PostgreSQL, Redis, Kafka. They keep the rules, not the speed."""

import threading
from datetime import timedelta

from confluent_kafka import KafkaError

from pipeline.cache import Answer
from pipeline.errors import Unavailable
from storage_service.app import create_api_of
from storage_service.events import Bells, Watch
from storage_service.ledger import Ledger
from storage_service.questions import Questions
from storage_service.schemas import ByQuality, ByStatus, FailedPage, FailedQuestion, Failure, State, Stored
from storage_service.store import Recorded, Retried
from tests.unit.samples import NOW


def answer(question, **changes):
    fields = {
        "question_id": question.question_id,
        "question_text": question.question_text,
        "original_answer": question.original_answer,
        "llm_response": "Because of scattering.",
        "bert_score": 0.5,
        "bert_precision": 0.5,
        "bert_recall": 0.5,
        "bert_f1": 0.5,
        "quality": "accepted",
        "scorer": "fake",
        "model": "fake",
        "processing_attempts": 1,
        "total_processing_time_ms": 1200,
        "created_at": NOW,
    }
    return Answer(**fields | changes)


class FakeRecords:
    """Stands for the database."""

    def __init__(self):
        self.rows = {}
        self.published = {}
        self.away = False
        self.calls = []
        self.limits = []
        self.wanted = None
        self.lock = threading.Lock()

    def _call(self, name):
        self.calls.append(name)
        if self.away:
            raise Unavailable("PostgreSQL: connection refused")

    def _check_room(self, outbox_limit):
        self.limits.append(outbox_limit)
        if outbox_limit is not None and len(self.rows) - len(self.published) >= outbox_limit:
            raise Unavailable("Kafka: no room")

    def record(self, question, outbox_limit, topic):
        self._call("record")
        with self.lock:
            row = self.rows.get(question.question_id)
            if row is None or row["failure"]:
                self._check_room(outbox_limit)
            if row is None:
                self.rows[question.question_id] = {"question": question, "times": 1, "answer": None, "failure": None}
                self.rows[question.question_id]["topic"] = topic
                return Recorded(publish=question)
            row["times"] += 1
            row["topic"] = row["topic"] or topic
            if row["answer"]:
                return Recorded(answer=row["answer"])
            if row["failure"]:
                return Recorded(publish=self._restart(row, question))
            return Recorded()

    def _restart(self, row, question):
        row.update(question=question, failure=None)
        self.published.pop(question.question_id, None)
        return question

    def retry(self, question_id, asked_at, outbox_limit):
        self._call("retry")
        with self.lock:
            row = self.rows.get(question_id)
            if row is None:
                return None
            if not row["failure"]:
                return Retried(state=self.find(question_id))
            self._check_room(outbox_limit)
            return Retried(publish=self._restart(row, row["question"].model_copy(update={"asked_at": asked_at})))

    def failed(self, wanted):
        self._call("failed")
        self.wanted = wanted
        found = [
            FailedQuestion(
                question_id=question_id, question_text=row["question"].question_text, **row["failure"].model_dump()
            )
            for question_id, row in self.rows.items()
            if row["failure"]
        ]
        return FailedPage(total=len(found), failed=found[wanted.offset :][: wanted.limit])

    def find(self, question_id):
        self._call("find")
        row = self.rows.get(question_id)
        if row is None:
            return None
        return State(
            question_id=question_id,
            status="completed" if row["answer"] else "failed" if row["failure"] else "pending",
            question_text=row["question"].question_text,
            asked_at=row["question"].asked_at,
            result=row["answer"],
            error=row["failure"],
        )

    def statistics(self):
        self._call("statistics")
        return Stored(
            questions=ByStatus(pending=len(self.rows)),
            asked_total=sum(row["times"] for row in self.rows.values()),
            answers=ByQuality(),
            mean_score=None,
            outbox=len(self.rows) - len(self.published),
        )

    def add_times_asked(self, hits):
        self._call("add_times_asked")
        for question_id, times in hits.items():
            self.rows[question_id]["times"] += times

    def mark_published(self, marks):
        self._call("mark_published")
        self.published |= {question_id: at for (question_id, _), at in marks.items()}

    def complete(self, question_id, **changes):
        row = self.rows[question_id]
        row["answer"] = answer(row["question"], **changes)

    def fail(self, question_id):
        self.rows[question_id]["failure"] = Failure(
            reason="retries_exhausted", last_error="overload 503: busy", retry_count=3, failed_at=NOW + timedelta(1)
        )


class FakeAnswers:
    """Stands for Redis."""

    def __init__(self):
        self.kept = {}
        self.away = False

    def get(self, question_id):
        return None if self.away else self.kept.get(question_id)

    def put(self, answer):
        if not self.away:
            self.kept[answer.question_id] = answer


class FakePublisher:
    """Stands for the producer."""

    def __init__(self):
        self.sent = []
        self.acknowledges = True
        self.error = None

    def send(self, outgoing, delivered):
        self.sent.append(outgoing)
        if self.acknowledges:
            delivered(self.error)

    def fail(self):
        self.error = KafkaError(KafkaError._MSG_TIMED_OUT)


class Fleet:
    """The service on its fakes."""

    def __init__(self, seats=4, checks=None, optional=None, outbox_limit=10):
        self.records = FakeRecords()
        self.answers = FakeAnswers()
        self.publisher = FakePublisher()
        self.bells = Bells(seats)
        self.ledger = Ledger(self.records)
        self.questions = Questions(
            self.records,
            self.answers,
            self.publisher,
            self.ledger,
            Watch(self.records.find, self.bells),
            outbox_limit,
        )
        self.budget = None
        self.providers = None
        self.api = create_api_of(self.questions, checks or {}, optional or {}, self._budget_of, self._providers_of)
        self.client = self.api.test_client()

    def _budget_of(self, day):
        if self.budget is None:
            raise Unavailable("Redis is away")
        return self.budget

    def _providers_of(self):
        if self.providers is None:
            raise Unavailable("Redis does not answer")
        return self.providers

    def ask(self, text="Why is the sky blue?", **more):
        path = more.pop("path", "/query")
        return self.client.post(path, json={"question_text": text, **more})

    def finish_later(self, question_id, after_seconds=0.1, how="complete"):
        def finish():
            getattr(self.records, how)(question_id)
            self.bells.ring(question_id)

        timer = threading.Timer(after_seconds, finish)
        timer.daemon = True
        timer.start()
