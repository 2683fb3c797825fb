"""Handler of questions: makes one attempt and returns the message that follows from it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, Protocol

import structlog

from llm_consumer.call_cache import Paid
from llm_consumer.prompt import prompts, with_min_temperature
from pipeline import metrics, routing, topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import (
    MAX_RETRIES,
    MAX_SAMPLE_CHARACTERS,
    ProviderError,
    Question,
    RecordPosition,
    Response,
    RetryableFailure,
)
from pipeline.producer import Outgoing
from pipeline.providers.api import CallFailed
from pipeline.providers.charges import Budget, Charges
from pipeline.providers.day_budget import tokens_at_most
from pipeline.providers.llm import Answer, Prompt
from pipeline.providers.targets import Target

log = structlog.get_logger()

SAME_CALL_SECONDS = 0.5
"""Time after which a copy of a message checks again whether the call that it would repeat has ended."""

PATIENCE_SLACK_SECONDS = 60.0
"""Tolerance, so that a question that waited for its whole patience (as the provider demanded) is asked once more."""

_ERROR_TOPICS = {"overload": topics.ERROR_OVERLOAD, "quota": topics.ERROR_QUOTA}


class CallCache(Protocol):
    """Outcomes of recent calls."""

    def get(self, question: Question, target: Target, /) -> Outgoing | None:
        """Returns the outcome of this call, if it was made."""

    def put(self, question: Question, target: Target, outgoing: Outgoing, /) -> None:
        """Stores the outcome of a call."""

    def get_paid(self, question: Question, target: Target, /) -> list[Paid]:
        """Returns the answers that an attempt already has."""

    def put_paid(self, question: Question, target: Target, paid: Sequence[Paid], /) -> None:
        """Stores the answers that an attempt already has."""


class Provider(Protocol):
    """Makes the calls of an attempt."""

    @property
    def target(self) -> Target:
        """Model, address, price."""

    def ask(self, prompt: Prompt, question_id: str, failed_at: datetime | None, /) -> Answer:
        """Makes one call; raises `CallFailed`, or `Unavailable` while the provider admits no call."""


@dataclass(frozen=True)
class SelfCheck:
    """Self-check of answers without reference (SelfCheckGPT: Manakul et al. 2023, arXiv:2303.08896).

    Attributes:
        samples: Number of further answers that the answer is compared with; 0: the answer stays unscored.
        temperature: Minimum temperature of the further answers.
    """

    samples: int = 0
    temperature: float = 1.0


@dataclass(frozen=True)
class Waiting:
    """Rules for questions whose call the provider does not admit.

    Attributes:
        patience_seconds: Maximum wait since the first refusal.
        quota_counts: True: a quota error counts as a retry.
    """

    patience_seconds: float = 86_400
    quota_counts: bool = False

    def is_over(self, question: Question, now: datetime, wait_seconds: float) -> bool:
        """Returns whether a question would exceed its patience with a further wait of `wait_seconds`."""
        if question.waiting_since is None:
            return False
        waited = (now - question.waiting_since).total_seconds()
        return waited + wait_seconds > self.patience_seconds + PATIENCE_SLACK_SECONDS


class AskHandler:
    """Asks the model and returns a message with the answer or the error."""

    def __init__(
        self,
        providers: Sequence[Provider],
        call_cache: CallCache,
        budget: Budget,
        temperature: float,
        waiting: Waiting,
        self_check: SelfCheck = SelfCheck(),
    ) -> None:
        """Makes a handler.

        Args:
            providers: A provider for each attempt; the last one is used for further attempts.
            call_cache: Outcomes of recent calls, so that a repeated message is not asked again.
            budget: The day's budget of calls.
            temperature: Temperature of first attempts.
            waiting: Rules for questions whose call the provider does not admit.
            self_check: Self-check of questions without reference.
        """
        self._providers = providers
        self._call_cache = call_cache
        self._budget = budget
        self._charges = Charges(budget, metrics.LLM_TOKENS, metrics.LLM_COST)
        self._temperature = temperature
        self._waiting = waiting
        self._self_check = self_check
        self._lock = threading.Lock()
        self._asking: set[tuple[str, datetime, int, int]] = set()

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Handles one message of `questions-pending`.

        Raises:
            Unavailable: The provider admits no call, the day's budget is used up, or the call of a copy of the message
                is in flight.
        """
        question = incoming.message
        assert isinstance(question, Question)
        with self._alone_with(question):
            return self._handle(question, incoming)

    @contextmanager
    def _alone_with(self, question: Question) -> Iterator[None]:
        """Allows one call of a question at a time; a later copy then finds its outcome in the call cache.

        Copies follow each other closely when a producer gave up a question that the broker did accept, and the outbox
        published it again. They have the same key and partition, so this consumer gets all of them.
        """
        call = (question.question_id, question.asked_at, question.processing_attempts, question.retry_count)
        with self._lock:
            if call in self._asking:
                raise Unavailable("this call is being made", SAME_CALL_SECONDS, already_logged=True)
            self._asking.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._asking.discard(call)

    def _handle(self, question: Question, incoming: Incoming) -> Sequence[Outgoing]:
        about = log.bind(
            question_id=question.question_id, attempt=question.processing_attempts, retry=question.retry_count
        )
        provider = self._providers[min(question.processing_attempts, len(self._providers)) - 1]
        known = self._call_cache.get(question, provider.target)
        if known:
            metrics.LLM_CALLS.labels("spared").inc()
            about.info("sent the cached outcome of this call", topic=known.topic)
            return [known]
        closed = self._budget.closed_seconds()
        if closed:
            raise Unavailable("the day's budget is used up", closed, already_logged=True)
        outgoing = self._call(provider, question, incoming, about)
        self._call_cache.put(question, provider.target, outgoing)
        return [outgoing]

    def _call(
        self, provider: Provider, question: Question, incoming: Incoming, about: structlog.stdlib.BoundLogger
    ) -> Outgoing:
        wanted = 1 + (0 if question.original_answer else self._self_check.samples)
        paid = self._call_cache.get_paid(question, provider.target) if wanted > 1 else []
        before = len(paid)
        try:
            self._ask_all(provider, question, wanted, paid)
        except CallFailed as failure:
            error = self._with_tokens(failure, provider.target, paid[before:])
            self._call_cache.put_paid(question, provider.target, [each.recorded() for each in paid])
            return self._failure(question, error, incoming, about)
        except Unavailable as error:
            if len(paid) > before:
                self._call_cache.put_paid(question, provider.target, paid)
            if not self._waiting.is_over(question, incoming.now(), error.wait_seconds or 0):
                raise
            last = question.errors[-1]
            about.warning("gave up waiting for the provider", since=question.waiting_since, error=last.message)
            names = ("type", "cause", "status_code", "message", "counts_as_retry")  # its tokens are already counted
            last_error = ProviderError(**{name: getattr(last, name) for name in names})
            return _ended(question, last_error, "patience_exhausted", incoming.source, datetime.now(UTC))
        answer, *samples = (each.answer for each in paid)
        usages = [each.answer.usage for each in paid]
        costs = [each.cost for each in paid if each.cost is not None]
        about.info(
            "got an answer", latency_ms=answer.latency_ms, tokens=answer.usage.completion_tokens, samples=len(samples)
        )
        response = question.convert_to(
            Response,
            llm_response=answer.text,
            model=answer.model,
            llm_latency_ms=answer.latency_ms,
            prompt_tokens=sum(each.prompt_tokens for each in usages),
            completion_tokens=sum(each.completion_tokens for each in usages),
            reasoning_tokens=sum(each.reasoning_tokens for each in usages),
            cost=sum(costs, Decimal()) if len(costs) == len(paid) else None,
            finish_reason=answer.finish_reason,
            generated_at=datetime.now(UTC),
            samples=tuple(each.text[:MAX_SAMPLE_CHARACTERS] for each in samples),
        )
        return Outgoing.of(topics.RESPONSES_SUCCESS, response)

    def _ask_all(self, provider: Provider, question: Question, wanted: int, paid: list[Paid]) -> None:
        """Makes calls for an answer and its samples until `paid` has `wanted` answers.

        The calls are sequential, so that LLM_CONCURRENCY limits the calls in flight. One call with the parameter `n`
        is not possible, because many providers do not support it. If a call fails, the attempt fails, because the
        answer cannot be scored without all samples.
        """
        asked, *shorter = prompts(question, self._temperature)
        while len(paid) < wanted:
            try:
                paid.append(
                    self._ask(
                        provider, question, with_min_temperature(asked, self._self_check.temperature) if paid else asked
                    )
                )
            except CallFailed as failure:
                if failure.error.cause != "context_length" or not shorter:
                    raise
                asked, *shorter = shorter

    def _ask(self, provider: Provider, question: Question, asked: Prompt) -> Paid:
        with metrics.LLM_SECONDS.time():
            answer = provider.ask(asked, question.question_id, _failed_at(question))
        metrics.LLM_CALLS.labels("answer").inc()
        cost = self._charges.charge(provider.target, answer.usage)
        if not answer.usage.prompt_tokens + answer.usage.completion_tokens:
            self._charges.charge_at_most(provider.target, tokens_at_most(asked.size, answer.text))
            cost = None
        return Paid(answer, cost)

    def _with_tokens(self, failure: CallFailed, target: Target, paid: Sequence[Paid]) -> ProviderError:
        """Returns the error of an attempt with the tokens and cost of the failed call and of the answers before it."""
        usages = [failure.usage, *(each.answer.usage for each in paid)]
        prompt_tokens = sum(each.prompt_tokens for each in usages)
        completion_tokens = sum(each.completion_tokens for each in usages)
        if not prompt_tokens + completion_tokens:
            return failure.error
        costs = [self._charges.charge(target, failure.usage), *(each.cost for each in paid)]
        known = [each for each in costs if each is not None]
        return failure.error.model_copy(
            update={
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "cost": sum(known, Decimal()) if known else None,
            }
        )

    def _failure(
        self, question: Question, error: ProviderError, incoming: Incoming, about: structlog.stdlib.BoundLogger
    ) -> Outgoing:
        now = datetime.now(UTC)
        if error.cause == "no_answer" and question.retry_count >= MAX_RETRIES:
            error = error.model_copy(update={"type": "permanent"})
        if error.type == "quota" and self._waiting.quota_counts:
            error = error.model_copy(update={"counts_as_retry": True})
        metrics.LLM_CALLS.labels(error.type).inc()
        about.warning(
            "failed to get an answer",
            meaning=error.type,
            cause=error.cause,
            status=error.status_code,
            counts_as_retry=error.counts_as_retry,
            error=error.message,
        )
        question = question.model_copy(update={"errors": question.errors_with(error, now)})
        if error.type == "permanent":
            return _ended(question, error, "not_retryable", incoming.source, now)
        if not error.counts_as_retry:
            if self._waiting.is_over(question, incoming.now(), 0):
                return _ended(question, error, "patience_exhausted", incoming.source, now)
            question = question.model_copy(update={"waiting_since": question.waiting_since or now})
        failed_call = question.convert_to(RetryableFailure, error=error, failed_at=now)
        return Outgoing.of(_ERROR_TOPICS[error.type], failed_call)


def _ended(
    question: Question,
    error: ProviderError,
    reason: Literal["patience_exhausted", "not_retryable"],
    source: RecordPosition,
    now: datetime,
) -> Outgoing:
    ended = routing.give_up(question, error, reason, source, now)
    return Outgoing.of(ended.topic, ended.message)


def _failed_at(question: Question) -> datetime | None:
    """Returns when a call of this generation last failed; None if none has failed."""
    last = question.errors[-1] if question.errors else None
    return last.failed_at if last and last.attempt == question.processing_attempts else None
