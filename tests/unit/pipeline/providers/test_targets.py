from decimal import Decimal

import pytest

from llm_consumer.settings import LlmSettings
from pipeline.providers.targets import ModelName, Price, price_of, read_keys, read_limits, read_models, read_prices
from pipeline.settings import load

BIG = "http://big:8000/v1"


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("small", [ModelName("small")]),
        (f"small, big@{BIG}", [ModelName("small"), ModelName("big", BIG)]),
        ("qwen3:8b,org/model.v2", [ModelName("qwen3:8b"), ModelName("org/model.v2")]),
        (f"@cf/meta/llama@{BIG}", [ModelName("@cf/meta/llama", BIG)]),
        ("model@20240229", [ModelName("model@20240229")]),
    ],
)
def test_a_list_of_models_is_read(text, models):
    assert read_models(text) == tuple(models)


@pytest.mark.parametrize(
    "wrong", [",", "small,", "a b", "http://host/v1", f"@{BIG}", "big@", "big@http://", "big@http:/h"]
)
def test_an_invalid_list_of_models_is_rejected(wrong):
    with pytest.raises(ValueError, match=r"MODEL|model"):
        read_models(wrong)


def test_a_list_of_keys_is_read():
    keys = read_keys("http://one/v1=a=b==, https://two/v1 = c")
    assert {url: key.get_secret_value() for url, key in keys.items()} == {
        "http://one/v1": "a=b==",
        "https://two/v1": "c",
    }


@pytest.mark.parametrize(
    "wrong", ["sk-secret", "one/v1=sk-secret", "http://one/v1=", "http://one=a,http://one/=sk-secret"]
)
def test_an_invalid_list_of_keys_is_rejected_without_showing_a_key(wrong):
    with pytest.raises(ValueError, match=r"entry 1|two keys") as refused:
        read_keys(wrong)
    assert "sk-secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["sk-secret\n", " sk-secret\r\n", "\tsk-secret"])
def test_white_space_around_a_key_is_removed(key):
    assert LlmSettings(llm_api_key=key).llm_api_key.get_secret_value() == "sk-secret"
    assert read_keys(f"http://one/v1={key}")["http://one/v1"].get_secret_value() == "sk-secret"


def test_a_list_of_limits_is_read():
    assert read_limits("60, https://api.openai.com/v1=500") == {"": 60, "https://api.openai.com/v1": 500}


@pytest.mark.parametrize(
    "wrong", ["0", "-3", "many", "one/v1=3", "http://one/v1=", "60,30", "http://a=1,http://a/=2", "1.5"]
)
def test_an_invalid_list_of_limits_is_rejected(wrong):
    with pytest.raises(ValueError, match=r"LIMIT|limits"):
        read_limits(wrong)


def test_a_limit_applies_to_its_provider():
    settings = LlmSettings(
        llm_base_url="http://one/v1", llm_models=f"small, big@{BIG}", llm_rpm=f"60, {BIG}/=500", llm_tpm="9000"
    )
    first, second = (settings.bounds(each.base_url) for each in settings.targets)
    assert (first.requests_per_minute, first.tokens_per_minute) == (60, 9000)
    assert (second.requests_per_minute, second.tokens_per_minute) == (500, None)


def test_extra_fields_apply_to_their_target():
    targets = LlmSettings(
        llm_extra_body={"top_k": 1, "seed": 1},
        llm_models=f"small, big@{BIG}, other@{BIG}",
        llm_extra_bodies={"small": {"seed": None}, f"{BIG}/": {"a": 1}, f"big@{BIG}": {"a": 2, "b": 3}},
    ).targets
    assert [dict(each.extra_body) for each in targets] == [{"top_k": 1, "seed": None}, {"a": 2, "b": 3}, {"a": 1}]


@pytest.mark.parametrize(
    "wrong", ["m", "m=1", "m=1/2/3", "m=a/b", "m=-1/2", "m=NaN/1", "m=1/Infinity", "=1/2", "m=1/2,m=2/3"]
)
def test_an_invalid_list_of_prices_is_rejected(wrong):
    with pytest.raises(ValueError, match=r"price|MODEL"):
        read_prices(wrong)


def test_the_price_for_a_model_at_an_address_is_preferred():
    prices = read_prices(f"m=0.40/1.60, m@{BIG}=0/0")
    assert price_of(prices, "m", "http://elsewhere/v1") == Price(Decimal("0.40"), Decimal("1.60"))
    assert price_of(prices, "m", BIG + "/") == Price(Decimal(0), Decimal(0))
    assert price_of(prices, "other", BIG) is None


def test_a_cost_is_exact():
    assert Price(Decimal("0.40"), Decimal("1.60")).cost(31, 9) == Decimal("0.0000268")
    assert Price(Decimal("0.01"), Decimal(0)).cost(1, 0) == Decimal("0.00000001")


def test_a_slash_at_the_end_of_an_address_is_ignored():
    targets = LlmSettings(llm_base_url="http://one/v1/", llm_models=f"a, b@http://one/v1, c@{BIG}/, d@{BIG}").targets
    assert [each.base_url for each in targets] == ["http://one/v1", "http://one/v1", BIG, BIG]


def test_without_a_list_of_models_one_model_serves_all_attempts():
    [target] = LlmSettings(llm_base_url="http://one/v1", llm_model="m").targets
    assert (target.model, target.base_url) == ("m", "http://one/v1")


def test_a_key_is_sent_only_to_its_own_address():
    targets = LlmSettings(
        llm_api_key="first",
        llm_extra_body={"top_k": 1},
        llm_models=f"small, big@{BIG}, other@http://other/v1",
        llm_api_keys=f"{BIG}/=second",
    ).targets
    assert [each.api_key.get_secret_value() for each in targets] == ["first", "second", "not-needed"]
    assert [dict(each.extra_body) for each in targets] == [{"top_k": 1}, {}, {}]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LLM_MODELS": "small, "}, "LLM_MODELS: Value error, an entry is empty"),
        (
            {"LLM_API_KEYS": "http://typo/v1=sk-secret"},
            "LLM_API_KEYS: Value error, no model in LLM_MODELS is at http://typo/v1",
        ),
        ({"LLM_API_KEYS": "http://llm-server:8000/v1=sk-secret"}, "its key is LLM_API_KEY"),
        ({"LLM_API_KEYS": "sk-secret"}, "LLM_API_KEYS: Value error, entry 1 is not BASE_URL=KEY"),
        ({"LLM_PRICES": "m=1"}, "LLM_PRICES: Value error, 'm=1' is not MODEL=IN/OUT"),
        ({"LLM_BUDGET_TOKENS": "0"}, "LLM_BUDGET_TOKENS: "),
        ({"LLM_API_KEY": "sk-secret\nsk-secret"}, "LLM_API_KEY: Value error, a key is one line"),
        ({"LLM_API_KEYS": f"{BIG}=sk-secret\x07more", "LLM_MODELS": f"m@{BIG}"}, "a key is one line"),
        ({"LLM_BASE_URL": "http://user:sk-secret@host/v1"}, "LLM_BASE_URL: Value error, no user or password"),
        ({"LLM_RPM": "fast"}, "LLM_RPM: Value error, 'fast' is not LIMIT or BASE_URL=LIMIT"),
        ({"LLM_EXTRA_BODIES": '{"typo": {}}'}, "LLM_EXTRA_BODIES: Value error, no model that is asked has the name"),
        ({"LLM_BUDGET_COST": "5"}, "LLM_PRICES has none of embedded"),
        ({"FAULT_QUOTA_RATE": "1", "FAULT_OVERLOAD_RATE": "1", "LLM_API_KEY": "sk-secret"}, "together at most 1"),
    ],
)
def test_an_invalid_setting_gives_a_clear_message_without_a_key(monkeypatch, capsys, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(LlmSettings)
    printed = capsys.readouterr().err
    assert expected in printed
    assert "sk-secret" not in printed


def test_empty_settings_use_the_defaults_of_the_fleet(monkeypatch):
    for name in (
        "LLM_MODELS",
        "LLM_API_KEYS",
        "LLM_PRICES",
        "LLM_RPM",
        "LLM_TPM",
        "LLM_EXTRA_BODIES",
        "LLM_BUDGET_TOKENS",
        "LLM_BUDGET_COST",
    ):
        monkeypatch.setenv(name, "")
    settings = load(LlmSettings)
    assert (len(settings.targets), settings.llm_budget_tokens, settings.llm_budget_cost) == (1, None, None)
