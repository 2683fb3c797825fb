import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from llm_consumer.spending import OUTCOMES, spending_on, sum_spending
from pipeline.messages import DeadLetter, ErrorRecord, FailedQuestion, ProviderError, RetryableFailure
from tests.unit import samples
from tests.unit.pipeline.broker import Broker


def test_the_heartbeat_continues_while_the_spending_of_the_day_is_read():
    broker = Broker(*OUTCOMES)
    stop, beats = threading.Event(), []

    def beat():
        beats.append(True)

    assert spending_on(datetime.now(UTC).date(), broker.settings(), stop, beat).tokens == 0
    assert len(beats) >= len(OUTCOMES)


def test_the_heartbeat_continues_while_the_broker_is_unavailable(monkeypatch):
    monkeypatch.setattr("llm_consumer.spending._TIMEOUT_SECONDS", 0.05)
    broker = Broker()
    settings = broker.settings().model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    stop, beats = threading.Event(), []

    def beat():
        beats.append(True)
        if len(beats) == 2:
            stop.set()

    assert spending_on(datetime.now(UTC).date(), settings, stop, beat).tokens == 0
    assert len(beats) == 2


def test_answers_of_the_day_are_summed_and_duplicates_counted_once():
    def answer(hours, cost=None, **changes):
        return samples.response(generated_at=samples.NOW + timedelta(hours=hours), cost=cost, **changes)

    one = answer(0, Decimal("0.0000001"))
    today = [one, one, answer(1, Decimal("0.0000002"), processing_attempts=2), answer(2)]
    spent = sum_spending(samples.NOW.date(), [*today, answer(24), answer(-4)])
    assert (spent.tokens, spent.nanocost) == (75, 300)


def test_the_cost_of_an_empty_answer_is_counted_once_over_all_its_messages():
    error = ProviderError(type="overload", message="empty answer", prompt_tokens=20, cost=Decimal("0.0000001"))
    earlier = ErrorRecord(attempt=1, retry=2, failed_at=samples.NOW, **error.model_dump())
    last = earlier.model_copy(update={"retry": 3, "failed_at": samples.NOW + timedelta(seconds=8)})
    asked = samples.question(retry_count=2)
    first = asked.convert_to(RetryableFailure, errors=(earlier,), error=error, failed_at=earlier.failed_at)
    second = asked.convert_to(RetryableFailure, errors=(earlier, last), error=error, failed_at=last.failed_at)
    given_up = second.convert_to(FailedQuestion, reason="retries_exhausted", source=samples.SOURCE)
    unreadable = DeadLetter.of(None, b"x", samples.SOURCE, "no JSON", samples.NOW)
    spent = sum_spending(samples.NOW.date(), [first, second, given_up, unreadable, samples.question()])
    assert (spent.tokens, spent.nanocost) == (40, 200)
