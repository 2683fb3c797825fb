"""Settings about providers, of all services that call them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from pipeline.providers.limiter import Bounds
from pipeline.providers.targets import (
    NO_KEY,
    ModelName,
    Price,
    Target,
    one_line,
    read_limits,
    read_models,
    read_prices,
    same_api,
)
from pipeline.settings import RetryAfterSettings

DEFAULT_BASE_URL = "http://llm-server:8000/v1"
BASE_URL_PATTERN = r"^https?://"

CALL_SLACK_SECONDS = 15.0
"""Time after the timeout of a call after which it is no longer counted as in flight, in case its worker has crashed."""


def parsed_by(read: Callable[[str], Any]) -> BeforeValidator:
    """Parses a value of the environment with `read`; a default value, which is not a text, stays unchanged."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def without_password(base_url: str, key: str) -> str:
    """Returns a base URL.

    Args:
        base_url: The base URL.
        key: Name of the setting with the key of the API.

    Raises:
        ValueError: It has a user or a password.
    """
    if "@" in base_url.split("/")[2]:
        raise ValueError(f"no user or password in an address: the key is {key}")
    return base_url


def key_of_one_line(key: Any) -> Any:
    """Returns a key as `one_line` does; values that are no texts stay unchanged."""
    text = key.get_secret_value() if isinstance(key, SecretStr) else key
    return one_line(text) if isinstance(text, str) else key


class ProviderSettings(RetryAfterSettings):
    """Settings of services that call models: the models, their prices, and the limits of their providers."""

    llm_base_url: str = Field(
        DEFAULT_BASE_URL, pattern=BASE_URL_PATTERN, description="Address of an OpenAI-compatible API."
    )
    llm_model: str = Field(
        "embedded",
        min_length=1,
        description="Model that is asked. The embedded server accepts any name and replies with its own.",
    )
    llm_api_key: SecretStr = Field(NO_KEY, description="Key of `LLM_BASE_URL`; it is not sent to other addresses.")
    llm_models: Annotated[tuple[ModelName, ...], NoDecode, parsed_by(read_models)] = Field(
        (),
        description="A model for each attempt, `MODEL` or `MODEL@BASE_URL`, separated by commas; the last one is used "
        "for further attempts. Empty: `LLM_MODEL` for all.",
    )
    llm_prices: Annotated[dict[ModelName, Price], NoDecode, parsed_by(read_prices)] = Field(
        {}, description="Prices of a million tokens of prompts and answers: `MODEL=IN/OUT`, separated by commas."
    )
    llm_budget_tokens: int | None = Field(
        None, ge=1, description="Tokens that calls may use on a day (UTC); then calls pause. Empty: no limit."
    )
    llm_budget_cost: Decimal | None = Field(
        None,
        gt=0,
        le=1_000_000,
        decimal_places=6,
        description="Cost of calls on a day (UTC) in the currency of `LLM_PRICES`; then calls pause. Empty: no limit.",
    )
    llm_rpm: Annotated[dict[str, int], NoDecode, parsed_by(read_limits)] = Field(
        {},
        description="Requests a minute that a provider admits: `LIMIT` for `LLM_BASE_URL`, `BASE_URL=LIMIT` for "
        "others, separated by commas. Empty: the reported or learnt limit.",
    )
    llm_tpm: Annotated[dict[str, int], NoDecode, parsed_by(read_limits)] = Field(
        {}, description="Tokens a minute that a provider admits, in the same format as `LLM_RPM`."
    )
    llm_concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Calls in flight of the whole fleet at one provider, for any number of replicas.",
    )
    llm_timeout: float = Field(60, gt=0, le=600, description="Timeout of a whole call in seconds.")

    def bounds(self, base_url: str, timeout_seconds: float = 0) -> Bounds:
        """Returns the configured limits of a provider.

        Args:
            base_url: Base URL of its API.
            timeout_seconds: Timeout of calls that may be longer than `LLM_TIMEOUT`.
        """

        def limit(limits: dict[str, int]) -> int | None:
            first = limits.get("") if same_api(base_url, self.llm_base_url) else None
            return next((each for name, each in limits.items() if same_api(name, base_url)), first)

        return Bounds(
            concurrency=self.llm_concurrency,
            requests_per_minute=limit(self.llm_rpm),
            tokens_per_minute=limit(self.llm_tpm),
            call_seconds=max(self.llm_timeout, timeout_seconds) + CALL_SLACK_SECONDS,
            longest_wait_seconds=self.retry_after_max,
        )

    def check_prices(self, *targets: Target) -> None:
        """Checks that the costs of calls can be counted if there is a budget for them.

        Raises:
            ValueError: There is a budget, and a target has no price.
        """
        unknown = [each.model for each in targets if each.price is None]
        if self.llm_budget_cost is not None and unknown:
            raise ValueError(f"LLM_BUDGET_COST needs the price of each model: LLM_PRICES has none of {unknown[0]}")

    @field_validator("llm_api_key", mode="before")
    @classmethod
    def _key_is_one_line(cls, key: Any) -> Any:
        return key_of_one_line(key)

    @field_validator("llm_base_url")
    @classmethod
    def _address_holds_no_password(cls, base_url: str) -> str:
        return without_password(base_url, "LLM_API_KEY")
