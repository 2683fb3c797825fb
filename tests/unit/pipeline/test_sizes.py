from pipeline import sizes, topics
from pipeline.messages import ProviderError
from tests.unit import samples


def test_the_limit_applies_to_key_value_and_overhead():
    room = topics.MAX_MESSAGE_BYTES - sizes.OVERHEAD_BYTES - 32
    assert sizes.fits(topics.QUESTIONS_PENDING, b"k" * 32, b"v" * room)
    assert not sizes.fits(topics.QUESTIONS_PENDING, b"k" * 32, b"v" * (room + 1))
    assert sizes.fits(topics.PERMANENT, b"k" * 32, b"v" * (room + 1))


def test_a_shortened_history_keeps_the_answer():
    error = ProviderError(type="overload", message="busy")
    question = samples.question()
    for retry in range(40):
        question = question.model_copy(
            update={"errors": question.errors_with(error, samples.NOW), "retry_count": retry}
        )
    response = samples.response(llm_response="a" * 9000, errors=question.errors).model_copy(
        update={"samples": ("s" * 4000, "short")}
    )
    shorter = sizes.with_short_history(response)
    assert shorter.llm_response == response.llm_response
    assert [len(each) for each in shorter.samples] == [500, 5]
    assert shorter.errors == response.errors[-20:]


def test_failed_calls_of_one_retry_are_one_entry():
    busy = ProviderError(type="overload", message="busy", prompt_tokens=3)
    question = samples.question()
    for _ in range(3):
        question = question.model_copy(update={"errors": question.errors_with(busy, samples.NOW)})
    [error] = question.errors
    assert (error.times, error.retry, error.prompt_tokens) == (3, 0, 9)
    later = question.model_copy(update={"retry_count": 1})
    assert [(each.retry, each.times) for each in later.errors_with(busy, samples.NOW)] == [(0, 3), (1, 1)]
