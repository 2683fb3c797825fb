"""From a question to what follows from asking it once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

import structlog

from llm_consumer.budget import tokens_at_most
from llm_consumer.llm import Answer, CallFailed, EmptyAnswer
from llm_consumer.prompt import Prompt, hotter, prompt
from llm_consumer.targets import Target
from pipeline import metrics, topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import (
    MAX_RETRIES,
    MAX_SAMPLE_CHARACTERS,
    CallError,
    CallFailure,
    Failed,
    FailedCall,
    Question,
    Response,
    Source,
)
from pipeline.producer import Outgoing

log = structlog.get_logger()

SAME_CALL_SECONDS = 0.5
"""After which a copy looks again whether the call that it would repeat has ended."""

_ERROR_TOPICS = {"overload": topics.ERROR_OVERLOAD, "quota": topics.ERROR_QUOTA}


class Gate(Protocol):
    """Whether the provider may be called."""

    def closed_seconds(self) -> float:
        """Returns for how long not; 0 when it may."""

    def close(self, seconds: float, /) -> None:
        """Forbids it to all for so long."""


class Memo(Protocol):
    """What came of calls of late."""

    def recall(self, question: Question, target: Target, /) -> Outgoing | None:
        """Returns what came of this call, if it was made."""

    def keep(self, question: Question, target: Target, outgoing: Outgoing, /) -> None:
        """Keeps what came of a call."""


class Budget(Protocol):
    """What calls may take on a day."""

    def closed_seconds(self) -> float:
        """Returns for how long it is used up; 0 while some is left."""

    def charge(self, tokens: int, cost: Decimal | None, /) -> None:
        """Counts what a call took."""


@dataclass(frozen=True)
class Provider:
    """What a call of a target goes through.

    Attributes:
        target: Whom it asks.
        ask: The call.
        gate: Before the target's API, which it may share with other targets.
    """

    target: Target
    ask: Callable[[Prompt], Answer]
    gate: Gate


@dataclass(frozen=True)
class SelfCheck:
    """What an answer without reference is compared with (SelfCheckGPT: Manakul et al. 2023, arXiv:2303.08896).

    Attributes:
        samples: Further answers to ask for; 0: none, such an answer stays unscored.
        temperature: Of their sampling, unless the answer's is higher.
    """

    samples: int = 0
    temperature: float = 1.0


@dataclass(frozen=True)
class _Paid:
    """An answer and what it cost; None where that is not known."""

    answer: Answer
    cost: Decimal | None


class AskHandler:
    """Asks the model and addresses the answer or the error."""

    def __init__(
        self,
        providers: Sequence[Provider],
        memo: Memo,
        budget: Budget,
        temperature: float,
        longest_closed_seconds: float,
        self_check: SelfCheck = SelfCheck(),
    ) -> None:
        """Makes a handler.

        Args:
            providers: For each attempt; the last one serves further attempts, too.
            memo: What came of calls of late: a question that comes again is not asked again.
            budget: What calls may take on a day.
            temperature: Of first attempts.
            longest_closed_seconds: For which a provider may have the gate closed at most.
            self_check: For questions without reference.
        """
        self._providers = providers
        self._memo = memo
        self._budget = budget
        self._temperature = temperature
        self._longest_closed_seconds = longest_closed_seconds
        self._self_check = self_check
        self._lock = threading.Lock()
        self._asking: set[tuple[str, datetime, int, int]] = set()

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Handles one message of `questions-pending`.

        Raises:
            Unavailable: The provider wants to be left alone, the day's budget is used up, or a copy of the message is
                at the provider just now.
        """
        question = incoming.message
        assert isinstance(question, Question)
        with self._alone_with(question):
            return self._handle(question, incoming.source)

    @contextmanager
    def _alone_with(self, question: Question) -> Iterator[None]:
        """Keeps copies of a call apart: the one that comes later finds in the memo what came of it.

        Copies come close together where a producer gave a question up that the broker took nevertheless, and the outbox
        published it again. They have one key, so one partition, and so this consumer.
        """
        call = (question.question_id, question.asked_at, question.processing_attempts, question.retry_count)
        with self._lock:
            if call in self._asking:
                raise Unavailable("this call is being made", SAME_CALL_SECONDS, told=True)
            self._asking.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._asking.discard(call)

    def _handle(self, question: Question, source: Source) -> Sequence[Outgoing]:
        about = log.bind(
            question_id=question.question_id, attempt=question.processing_attempts, retry=question.retry_count
        )
        provider = self._providers[min(question.processing_attempts, len(self._providers)) - 1]
        known = self._memo.recall(question, provider.target)
        if known:
            metrics.LLM_CALLS.labels("spared").inc()
            about.info("sent again what came of this call", topic=known.topic)
            return [known]
        closed = provider.gate.closed_seconds()
        if closed:
            raise Unavailable("the provider asked to be left alone", closed, told=True)
        closed = self._budget.closed_seconds()
        if closed:
            raise Unavailable("the day's budget is used up", closed, told=True)
        outgoing = self._call(provider, question, source, about)
        self._memo.keep(question, provider.target, outgoing)
        return [outgoing]

    def _call(
        self, provider: Provider, question: Question, source: Source, about: structlog.stdlib.BoundLogger
    ) -> Outgoing:
        asked = prompt(question, self._temperature)
        wanted = 0 if question.original_answer else self._self_check.samples
        try:
            # One after the other: LLM_CONCURRENCY stays the number of calls in flight. Not one call with `n`, which
            # many providers do not know. One that fails fails the attempt, as without it there is nothing to judge by.
            paid = [self._ask(provider, asked)]
            paid += [self._ask(provider, hotter(asked, self._self_check.temperature)) for _ in range(wanted)]
        except CallFailed as failure:
            error = failure.error
            took = {"prompt_tokens": failure.prompt_tokens, "completion_tokens": failure.completion_tokens}
            if any(took.values()):
                error = error.model_copy(update={**took, "cost": self._charge(provider.target, **took)})
            if isinstance(failure, EmptyAnswer) and question.retry_count >= MAX_RETRIES:
                error = error.model_copy(update={"type": "permanent"})
            metrics.LLM_CALLS.labels(error.type).inc()
            about.warning("failed to get an answer", meaning=error.type, status=error.status_code, error=error.message)
            if error.type == "quota" and error.retry_after_seconds:
                provider.gate.close(min(error.retry_after_seconds, self._longest_closed_seconds))
            return _failure(question, error, source)
        answer, *samples = (each.answer for each in paid)
        costs = [each.cost for each in paid if each.cost is not None]
        about.info("got an answer", latency_ms=answer.latency_ms, tokens=answer.completion_tokens, samples=len(samples))
        response = question.become(
            Response,
            llm_response=answer.text,
            model=answer.model,
            llm_latency_ms=answer.latency_ms,
            prompt_tokens=sum(each.prompt_tokens for each in (answer, *samples)),
            completion_tokens=sum(each.completion_tokens for each in (answer, *samples)),
            cost=sum(costs, Decimal()) if len(costs) == len(paid) else None,
            finish_reason=answer.finish_reason,
            generated_at=datetime.now(UTC),
            samples=tuple(each.text[:MAX_SAMPLE_CHARACTERS] for each in samples),
        )
        return Outgoing.of(topics.RESPONSES_SUCCESS, response)

    def _ask(self, provider: Provider, asked: Prompt) -> _Paid:
        with metrics.LLM_SECONDS.time():
            answer = provider.ask(asked)
        metrics.LLM_CALLS.labels("answer").inc()
        cost = self._charge(provider.target, answer.prompt_tokens, answer.completion_tokens)
        if not answer.prompt_tokens + answer.completion_tokens:
            # The provider does not say. A budget must not be blind to it: it counts what there was at most.
            price = provider.target.price
            at_most = tokens_at_most(asked, answer.text)
            self._budget.charge(at_most, max(price.cost(at_most, 0), price.cost(0, at_most)) if price else None)
            cost = None
        return _Paid(answer, cost)

    def _charge(self, target: Target, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
        """Counts what a call took; returns its cost, None where no price is known."""
        metrics.LLM_TOKENS.labels("prompt").inc(prompt_tokens)
        metrics.LLM_TOKENS.labels("completion").inc(completion_tokens)
        cost = target.price.cost(prompt_tokens, completion_tokens) if target.price else None
        if cost:
            metrics.LLM_COST.labels(target.model).inc(float(cost))
        if prompt_tokens or completion_tokens:
            self._budget.charge(prompt_tokens + completion_tokens, cost)
        return cost


def _failure(question: Question, error: CallError, source: Source) -> Outgoing:
    now = datetime.now(UTC)
    failure = CallFailure(
        attempt=question.processing_attempts, retry=question.retry_count, failed_at=now, **error.model_dump()
    )
    errors = (*question.errors, failure)
    if error.type == "permanent":
        failed = question.become(
            Failed, errors=errors, reason="not_retryable", error=error, source=source, failed_at=now
        )
        return Outgoing.of(topics.PERMANENT, failed)
    failed_call = question.become(FailedCall, errors=errors, error=error, failed_at=now)
    return Outgoing.of(_ERROR_TOPICS[error.type], failed_call)
