"""The tasks: generate → score → persist, a chain for each question.

`celery --app studies.baselines.celery.tasks worker --pool threads`, with `--queues` for workers of one kind.

A task is acknowledged after it has run and after its successor is in the broker, so that a worker that dies loses
nothing. Results are not stored; they are passed along the chain. A retry waits in the broker for its `countdown`.
"""

from datetime import UTC, datetime
from typing import Any

import requests
from sqlalchemy.exc import OperationalError

from celery import Celery, Task, chain
from celery.exceptions import Ignore

from .generations import final, judged
from .providers import MAX_RETRIES, EmptyAnswer, Model, Scorer, wait_seconds
from .settings import Settings
from .store import Store

PERSIST_AGAIN_SECONDS = 2
SCORE_AGAIN_SECONDS = 1

settings = Settings()
app = Celery("celery_baseline", broker=settings.broker_url)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=int(settings.prefetch),
    # Longer than any countdown, because a task that is reserved for longer is given to another worker.
    broker_transport_options={"visibility_timeout": 3600},
    broker_connection_retry_on_startup=True,
    task_routes={f"{__name__}.{name}": {"queue": name} for name in ("generate", "score", "persist")},
)
# Clients connect at their first use. The pool uses threads, so nothing is forked after this.
store, model, scorer = Store(settings), Model(settings), Scorer(settings)

Question = dict[str, Any]


@app.task(bind=True, max_retries=None)
def generate(self: Task, question: Question) -> Question:
    """Asks the model once; retryable errors are retried at most three times."""
    retries = self.request.retries
    try:
        generation = model.ask(question)
    except (requests.RequestException, EmptyAnswer) as error:
        wait = wait_seconds(error, retries)
        if wait is not None and retries < MAX_RETRIES:
            raise self.retry(countdown=wait, exc=error) from error
        reason = "not_retryable" if wait is None else "retries_exhausted"
        store.fail(question["question_id"], reason, retries, str(error)[:1000])
        raise Ignore from error  # the chain ends here
    return question | {"attempts": [*question["attempts"], generation | {"bert_score": None}]}


@app.task(bind=True, max_retries=None)
def score(self: Task, question: Question) -> Question:
    """Scores the newest generation; a bad one is generated again unless the attempts are used up."""
    newest, result = question["attempts"][-1], None
    if question["original_answer"] is not None:
        try:
            result = scorer.score(newest["llm_response"], question["original_answer"])
        except requests.RequestException as error:  # an outage uses up no attempt
            raise self.retry(countdown=SCORE_AGAIN_SECONDS, exc=error) from error
    question = judged(question, result, settings.threshold, settings.max_attempts)
    if "quality" in question:
        return question
    # The rest of the chain follows the replacement.
    return self.replace(chain(generate.s(question), score.s()))


@app.task(bind=True, max_retries=None)
def persist(self: Task, question: Question) -> None:
    """Writes the kept answer."""
    try:
        store.complete(final(question, datetime.now(UTC)))
    except OperationalError as error:  # PostgreSQL is unavailable
        raise self.retry(countdown=PERSIST_AGAIN_SECONDS, exc=error) from error


def start(question: Question) -> None:
    """Sends a question to the broker, which has it when this returns."""
    chain(generate.s(question | {"best": None, "attempts": []}), score.s(), persist.s()).apply_async()
