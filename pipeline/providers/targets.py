"""Targets of calls: model, address, key and price. Parses them from the settings. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import SecretStr

NO_KEY = SecretStr("not-needed")
"""Key for a base URL that needs none."""

COST_DIGITS = 9
"""Decimal places of a cost in messages and in the database: a token of the cheapest models costs about 0.00000001."""

_MODEL = re.compile(r"(?P<model>\S+?)(?:@(?P<base_url>https?://\S+))?")
_TOKENS_OF_A_PRICE = 1_000_000
_HIGHEST_PRICE = 1_000_000


@dataclass(frozen=True)
class ModelName:
    """A model in the settings.

    Attributes:
        model: Name of the model.
        base_url: Base URL of its API; None when the setting contains none.
    """

    model: str
    base_url: str | None = None

    def __str__(self) -> str:
        return f"{self.model}@{self.base_url}" if self.base_url else self.model


@dataclass(frozen=True)
class Price:
    """Price of a model.

    Attributes:
        prompt: Currency units for a million tokens of prompts.
        completion: Currency units for a million tokens of answers.
    """

    prompt: Decimal
    completion: Decimal

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """Returns the cost of a call, in currency units, rounded to `COST_DIGITS`."""
        millionths = prompt_tokens * self.prompt + completion_tokens * self.completion
        return (millionths / _TOKENS_OF_A_PRICE).quantize(Decimal(1).scaleb(-COST_DIGITS))


@dataclass(frozen=True)
class Target:
    """Target of a call.

    Attributes:
        model: Name of the model.
        base_url: Base URL of its OpenAI-compatible API.
        api_key: Key of that API; it is not sent to other addresses.
        extra_body: Further fields of each request; null removes a field.
        price: Price of the model; None when it is unknown.
    """

    model: str
    base_url: str
    api_key: SecretStr = NO_KEY
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    price: Price | None = None


def same_api(one: str, other: str) -> bool:
    """Returns whether two base URLs are equal, except for a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")


def read_models(text: str) -> tuple[ModelName, ...]:
    """Parses `MODEL, MODEL@BASE_URL, …`: a model for each attempt.

    The name of a model may contain an `@`, like `@cf/meta/llama`; only `@` before `http` starts a base URL.

    Raises:
        ValueError: The text has another format.
    """
    return tuple(_model(each) for each in _entries(text, "MODEL or MODEL@BASE_URL"))


def read_keys(text: str) -> dict[str, SecretStr]:
    """Parses `BASE_URL=KEY, …`.

    Raises:
        ValueError: The text has another format; the error message contains no key.
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
    """Returns a key for a header, without surrounding white space (for example the line end of a file).

    Raises:
        ValueError: The key has invalid characters; the error message does not contain the key.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ValueError("a key is one line of printable ASCII")
    return key


def read_prices(text: str) -> dict[ModelName, Price]:
    """Parses `MODEL=IN/OUT, …`: currency units for a million tokens of prompts and of answers.

    Raises:
        ValueError: The text has another format.
    """
    prices: dict[ModelName, Price] = {}
    for entry in _entries(text, "MODEL=IN/OUT"):
        name, _, price = entry.rpartition("=")
        try:
            prompt, completion = (_amount(part) for part in price.split("/"))
        except (ValueError, InvalidOperation):
            raise ValueError(
                f"{entry!r} is not MODEL=IN/OUT (for example gpt-4.1-mini=0.40/1.60): the prices of a million tokens "
                f"of prompts and of answers, from 0 to {_HIGHEST_PRICE}"
            ) from None
        model = _model(name.strip())
        if model in prices:
            raise ValueError(f"two prices of {model}")
        prices[model] = Price(prompt, completion)
    return prices


def read_limits(text: str) -> dict[str, int]:
    """Parses `LIMIT, BASE_URL=LIMIT, …`: whole numbers above 0, by base URL; the key of `LIMIT` alone is `""`.

    Raises:
        ValueError: The text has another format.
    """
    limits: dict[str, int] = {}
    for entry in _entries(text, "LIMIT or BASE_URL=LIMIT"):
        base_url, _, number = (part.strip() for part in entry.rpartition("="))
        if (base_url and not re.fullmatch(r"https?://\S+", base_url)) or not re.fullmatch(r"[1-9]\d{0,9}", number):
            raise ValueError(
                f"{entry!r} is not LIMIT or BASE_URL=LIMIT (for example 60 or https://api.openai.com/v1=500)"
            )
        if any(same_api(base_url, other) for other in limits):
            raise ValueError(f"two limits for {base_url or 'LLM_BASE_URL'}")
        limits[base_url] = int(number)
    return limits


def fields_of(fields: Mapping[str, Mapping[str, Any]], model: str, base_url: str) -> dict[str, Any]:
    """Returns the further fields of a target. `MODEL@BASE_URL` overrides `MODEL`, which overrides `BASE_URL`.

    Args:
        fields: Fields by `BASE_URL`, `MODEL` or `MODEL@BASE_URL`.
        model: Model of the target.
        base_url: Base URL of the target.
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
    """Returns the price of a model at an API; a price for this API overrides one for the model alone."""
    for name, price in prices.items():
        if name.model == model and name.base_url and same_api(name.base_url, base_url):
            return price
    return prices.get(ModelName(model))


def _entries(text: str, form: str) -> list[str]:
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise ValueError(f"an entry is empty: entries have the form {form} and are separated by commas")
    return entries


def _model(text: str) -> ModelName:
    found = _MODEL.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text!r} is not MODEL or MODEL@BASE_URL (for example qwen3:8b@http://host.docker.internal:11434/v1)"
        )
    if re.search(r"@?https?:|@$", found["model"]):
        raise ValueError(f"{text!r} has no model, or other text between the model and @http:// or @https://")
    return ModelName(found["model"], found["base_url"])


def _amount(text: str) -> Decimal:
    amount = Decimal(text.strip())
    if not 0 <= amount <= _HIGHEST_PRICE:
        raise ValueError
    return amount
