"""In-memory fakes of PostgreSQL, Redis, the scorer and Kafka that follow the rules of the real stores."""

import threading
from dataclasses import replace
from datetime import timedelta

from confluent_kafka import KafkaError

from pipeline.cache import Answer
from pipeline.errors import Unavailable
from pipeline.origins import OriginSettings
from pipeline.routing import BertScore
from storage_service.app import create_api_of
from storage_service.correction import Candidate, Corrections, Scorable
from storage_service.dead_letters import DeadLetters
from storage_service.events import QuestionWaiter, Waiters
from storage_service.questions import Questions
from storage_service.routes import Services
from storage_service.schemas import (
    ByQuality,
    ByStatus,
    DeadLetter,
    DeadLetterPage,
    FailedPage,
    FailedQuestion,
    Failure,
    State,
    Stored,
)
from storage_service.store import HeldLetter, Recorded, Retried
from storage_service.write_behind import WriteBehind
from tests.unit.samples import NOW


def answer(question, **changes):
    fields = {
        "question_id": question.question_id,
        "question_text": question.question_text,
        "original_answer": question.original_answer,
        "references": question.references,
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
    """Fake database."""

    def __init__(self):
        self.rows = {}
        self.published = {}
        self.unavailable = False
        self.calls = []
        self.limits = []
        self.letters = {}
        self.attempts = {}
        self.corrected = None
        self.wanted = None
        self.lock = threading.Lock()

    def _call(self, name):
        self.calls.append(name)
        if self.unavailable:
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
        later = max(question.asked_at, row["question"].asked_at + timedelta(milliseconds=1))
        question = question.model_copy(update={"asked_at": later})
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

    def regenerate(self, question_id, references, asked_at, outbox_limit):
        self._call("regenerate")
        with self.lock:
            row = self.rows.get(question_id)
            if row is None:
                return None
            if not (row["failure"] or row["answer"]):
                return Retried(state=self.find(question_id))
            self._check_room(outbox_limit)
            changes = {"asked_at": asked_at}
            if references:
                changes |= {"original_answer": references[0], "references": tuple(references[1:])}
            row["answer"] = None
            return Retried(publish=self._restart(row, row["question"].model_copy(update=changes)))

    def delete(self, question_id):
        self._call("delete")
        letters = [each for each, held in self.letters.items() if held.letter.question_id == question_id]
        for each in letters:
            del self.letters[each]
        return bool(self.rows.pop(question_id, None) or letters)

    def scorable(self, question_id):
        self._call("scorable")
        state = self.find(question_id)
        if state is None:
            return None
        given = self.attempts.get(question_id, [])
        candidates = [Candidate(number, text, "fake") for number, text in enumerate(given, 1)]
        if state.result and not candidates:
            candidates = [Candidate(None, state.result.llm_response, "fake")]
        return Scorable(state.status, state.asked_at, candidates if state.result else [])

    def correct(self, question_id, asked_at, corrected):
        self._call("correct")
        row = self.rows.get(question_id)
        if row is None or row["question"].asked_at != asked_at:
            return None
        references = {"original_answer": corrected.original_answer, "references": corrected.references}
        row["question"] = row["question"].model_copy(update=references)
        self.corrected = corrected
        row["answer"] = row["answer"].model_copy(update={**references, **corrected.answer(), "judge": None})
        return self.find(question_id)

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
            oldest_pending_seconds=12.5 if self.rows else None,
            dead_letters=sum(each.letter.replayed_at is None for each in self.letters.values()),
        )

    def keep_letter(self, value=b"{", kept=65_536, key=b"key", **changes):
        letter = DeadLetter(
            id=len(self.letters) + 1,
            topic="llm-responses-error-permanent",
            partition=0,
            offset=len(self.letters),
            source_topic=changes.pop("source_topic", "questions-pending"),
            source_partition=2,
            source_offset=11,
            reason=changes.pop("reason", "malformed"),
            error="message: not JSON",
            key=key.decode(errors="replace"),
            question_id=changes.get("question_id"),
            value_bytes=None if value is None else len(value),
            kept_bytes=None if value is None else min(kept, len(value)),
            preview=None if value is None else value[:500].decode(errors="replace"),
            failed_at=NOW,
            received_at=NOW,
            replayed_at=None,
        )
        held = HeldLetter(letter, key, None if value is None else value[:kept], None)
        self.letters[letter.id] = held
        return letter.id

    def dead_letters(self, wanted):
        self._call("dead_letters")
        self.wanted = wanted
        found = [
            each.letter
            for each in reversed(self.letters.values())
            if wanted.reason in (None, each.letter.reason)
            and wanted.replayed in (None, each.letter.replayed_at is not None)
        ]
        return DeadLetterPage(total=len(found), dead_letters=found[wanted.offset :][: wanted.limit])

    def replay(self, letter_id, publish):
        self._call("replay")
        with self.lock:
            held = self.letters.get(letter_id)
            if held is None:
                return None
            if held.letter.replayed_at:
                return held.letter
            state = held.letter.question_id and self.find(held.letter.question_id)
            publish(replace(held, question_status=state.status if state else None))
            letter = held.letter.model_copy(update={"replayed_at": NOW})
            self.letters[letter_id] = replace(held, letter=letter)
            return letter

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
    """Fake Redis."""

    def __init__(self):
        self.kept = {}
        self.forgotten = []
        self.unavailable = False

    def get(self, question_id):
        return None if self.unavailable else self.kept.get(question_id)

    def put(self, answer):
        if not self.unavailable:
            self.kept[answer.question_id] = answer

    def invalidate(self, *question_ids):
        if self.unavailable:
            raise Unavailable("Redis is unavailable")
        for question_id in question_ids:
            self.kept.pop(question_id, None)

    def forget(self, question_id):
        self.invalidate(question_id)
        self.forgotten.append(question_id)


class FakeScorer:
    """Fake score-validator; the score is the share of an answer's words that are in the best reference."""

    def __init__(self):
        self.calls = []
        self.error = None
        self.meanwhile = None

    def score(self, answers, *references):
        self.calls.append((list(answers), *references))
        if self.error:
            raise self.error
        if self.meanwhile:
            self.meanwhile()
        return [self._best(each, references) for each in answers]

    def _best(self, answer, references):
        words = answer.lower().split()
        shares = [len(set(words) & set(each.lower().split())) / len(words) for each in references]
        best = max(shares)
        return BertScore(best, best, best, best, "fake", shares.index(best))


class FakePublisher:
    """Fake producer."""

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
    """storage-service on fakes of its dependencies."""

    def __init__(self, most=4, checks=None, optional=None, outbox_limit=10, **allowed):
        self.records = FakeRecords()
        self.answers = FakeAnswers()
        self.publisher = FakePublisher()
        self.waiters = Waiters(most)
        self.write_behind = WriteBehind(self.records)
        self.questions = Questions(
            self.records,
            self.answers,
            self.publisher,
            self.write_behind,
            QuestionWaiter(self.records.find, self.waiters),
            outbox_limit,
        )
        self.budget = None
        self.providers = None
        self.scorer = FakeScorer()
        self.api = create_api_of(
            Services(
                self.questions,
                DeadLetters(self.records, self.publisher),
                Corrections(self.records, self.answers, self.scorer, threshold=0.5),
                self._budget_of,
                self._providers_of,
            ),
            checks or {},
            optional or {},
            OriginSettings(**allowed),
        )
        self.client = self.api.test_client()

    def _budget_of(self, day):
        if self.budget is None:
            raise Unavailable("Redis is unavailable")
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
            self.waiters.notify(question_id)

        timer = threading.Timer(after_seconds, finish)
        timer.daemon = True
        timer.start()
