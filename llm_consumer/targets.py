"""Whom the attempts of a question ask, and what that costs: the texts of the settings, read. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import SecretStr

NO_KEY = SecretStr("not-needed")
"""For a base URL without a key."""

COST_DIGITS = 9
"""Of the fraction of a cost, in messages and in the database: a token of the cheapest models costs about 0.00000001."""

_MODEL = re.compile(r"(?P<model>\S+?)(?:@(?P<base_url>https?://\S+))?")
_TOKENS_OF_A_PRICE = 1_000_000
_HIGHEST_PRICE = 1_000_000


@dataclass(frozen=True)
class ModelName:
    """A model as the settings name it.

    Attributes:
        model: Its name.
        base_url: Of the API that serves it; None where it is not said.
    """

    model: str
    base_url: str | None = None

    def __str__(self) -> str:
        return f"{self.model}@{self.base_url}" if self.base_url else self.model


@dataclass(frozen=True)
class Price:
    """What a model costs.

    Attributes:
        prompt: Currency units for a million tokens of prompts.
        completion: The same for those of answers.
    """

    prompt: Decimal
    completion: Decimal

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """Returns the cost of a call, in currency units, rounded to `COST_DIGITS`."""
        millionths = prompt_tokens * self.prompt + completion_tokens * self.completion
        return (millionths / _TOKENS_OF_A_PRICE).quantize(Decimal(1).scaleb(-COST_DIGITS))


@dataclass(frozen=True)
class Target:
    """Whom an attempt asks.

    Attributes:
        model: The model.
        base_url: Of the OpenAI-compatible API that serves it.
        api_key: Of that API, and sent to no other.
        extra_body: Further fields of each request; one that is null takes a field out.
        price: Of the model; None when it is not known.
    """

    model: str
    base_url: str
    api_key: SecretStr = NO_KEY
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    price: Price | None = None


def same_api(one: str, other: str) -> bool:
    """Returns whether two base URLs are the same but for a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")


def read_models(text: str) -> tuple[ModelName, ...]:
    """Reads `MODEL, MODEL@BASE_URL, …`: one for each attempt.

    A model's name may have an `@` of its own, as in `@cf/meta/llama`: only one before `http` begins a base URL.

    Raises:
        ValueError: It is nothing of that kind.
    """
    return tuple(_model(each) for each in _entries(text, "MODEL or MODEL@BASE_URL"))


def read_keys(text: str) -> dict[str, SecretStr]:
    """Reads `BASE_URL=KEY, …`.

    Raises:
        ValueError: It is nothing of that kind; the text of the error has no key in it.
    """
    keys: dict[str, SecretStr] = {}
    for number, entry in enumerate(_entries(text, "BASE_URL=KEY"), 1):
        base_url, _, key = (part.strip() for part in entry.partition("="))
        if not re.fullmatch(r"https?://\S+", base_url) or not key:
            raise ValueError(
                f"entry {number} is not BASE_URL=KEY, with a base URL that begins with http:// or https://"
            )
        if any(same_api(base_url, other) for other in keys):
            raise ValueError(f"two keys for {base_url}")
        keys[base_url] = SecretStr(one_line(key))
    return keys


def one_line(key: str) -> str:
    """Returns a key without white space around it, as a line end from a file: it goes into a header as it is.

    Raises:
        ValueError: It has another one inside; the text of the error has no key in it.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ValueError("a key is one line of printable ASCII")
    return key


def read_prices(text: str) -> dict[ModelName, Price]:
    """Reads `MODEL=IN/OUT, …`: currency units for a million tokens of prompts and of answers.

    Raises:
        ValueError: It is nothing of that kind.
    """
    prices: dict[ModelName, Price] = {}
    for entry in _entries(text, "MODEL=IN/OUT"):
        name, _, price = entry.rpartition("=")
        try:
            prompt, completion = (_amount(part) for part in price.split("/"))
        except (ValueError, InvalidOperation):
            raise ValueError(
                f"{entry!r} is not MODEL=IN/OUT, as gpt-4.1-mini=0.40/1.60: the prices of a million tokens of prompts "
                f"and of answers, from 0 to {_HIGHEST_PRICE}"
            ) from None
        model = _model(name.strip())
        if model in prices:
            raise ValueError(f"two prices of {model}")
        prices[model] = Price(prompt, completion)
    return prices


def read_limits(text: str) -> dict[str, int]:
    """Reads `LIMIT, BASE_URL=LIMIT, …`: whole numbers above 0, by base URL; the one without an address has `""`.

    Raises:
        ValueError: It is nothing of that kind.
    """
    limits: dict[str, int] = {}
    for entry in _entries(text, "LIMIT or BASE_URL=LIMIT"):
        base_url, _, number = (part.strip() for part in entry.rpartition("="))
        if (base_url and not re.fullmatch(r"https?://\S+", base_url)) or not re.fullmatch(r"[1-9]\d{0,9}", number):
            raise ValueError(f"{entry!r} is not LIMIT or BASE_URL=LIMIT, as 60 or https://api.openai.com/v1=500")
        if any(same_api(base_url, other) for other in limits):
            raise ValueError(f"two limits for {base_url or 'LLM_BASE_URL'}")
        limits[base_url] = int(number)
    return limits


def fields_of(fields: Mapping[str, Mapping[str, Any]], model: str, base_url: str) -> dict[str, Any]:
    """Returns the further fields of a target: those of its API, then those of its model, then those of both together.

    Args:
        fields: By `BASE_URL`, `MODEL` or `MODEL@BASE_URL`.
        model: The target's.
        base_url: The target's.
    """
    found: dict[str, Any] = {}
    for rank in (_is_api, _is_model, _is_both):
        for name, more in fields.items():
            if rank(name, model, base_url):
                found |= more
    return found


def _is_api(name: str, model: str, base_url: str) -> bool:
    return same_api(name, base_url)


def _is_model(name: str, model: str, base_url: str) -> bool:
    return name == model


def _is_both(name: str, model: str, base_url: str) -> bool:
    return name.startswith(f"{model}@") and same_api(name.removeprefix(f"{model}@"), base_url)


def price_of(prices: Mapping[ModelName, Price], model: str, base_url: str) -> Price | None:
    """Returns the price of a model at an API: the one for that API before the one for the model anywhere."""
    for name, price in prices.items():
        if name.model == model and name.base_url and same_api(name.base_url, base_url):
            return price
    return prices.get(ModelName(model))


def _entries(text: str, form: str) -> list[str]:
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise ValueError(f"an entry is empty: entries of the form {form} stand between commas")
    return entries


def _model(text: str) -> ModelName:
    found = _MODEL.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not MODEL or MODEL@BASE_URL, as qwen3:8b@http://host.docker.internal:11434/v1")
    if re.search(r"@?https?:|@$", found["model"]):
        raise ValueError(f"{text!r} has no model, or something between the model and @http:// or @https://")
    return ModelName(found["model"], found["base_url"])


def _amount(text: str) -> Decimal:
    amount = Decimal(text.strip())
    if not 0 <= amount <= _HIGHEST_PRICE:
        raise ValueError
    return amount
