from studies.fleet import tokens
from studies.fleet.tokens import TokenUsage


def test_settings_are_those_of_the_running_consumer():
    environment = ["PATH=/bin", "LLM_MODEL=m", "LLM_CONCURRENCY=3", "LLM_TIMEOUT=", 'LLM_EXTRA_BODY={"a": "b=c"}']
    settings = tokens.settings_of(environment)
    assert (settings.llm_model, settings.llm_concurrency, settings.llm_timeout) == ("m", 3, 60)
    assert settings.llm_extra_body == {"a": "b=c"}


def test_questions_are_new_each_time_and_share_their_beginning():
    first, second = tokens.texts(300), tokens.texts(300)
    assert len({*first[1], *second[1]}) == 600
    assert all(text.startswith(first[0]) for text in first[1])


def test_medians_of_the_rates_are_compared():
    fleet = [tokens.summary(tokens.FLEET, 1, 50, TokenUsage(each, 10)) for each in (900, 800, 100)]
    straight = [tokens.summary(tokens.STRAIGHT, 1, 50, TokenUsage(1000, 10))]
    found = tokens.compare([*fleet, *straight])
    assert (found.fleet, found.against, found.met) == (80, 100, False)
