"""Settings of llm-consumer."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from pipeline.messages import MAX_SAMPLES
from pipeline.providers.limiter import Bounds
from pipeline.providers.targets import (
    NO_KEY,
    ModelName,
    Price,
    Target,
    fields_of,
    one_line,
    price_of,
    read_keys,
    read_limits,
    read_models,
    read_prices,
    same_api,
)
from pipeline.settings import KafkaSettings, PatienceSettings, RedisSettings

CALL_SLACK_SECONDS = 15.0
"""Time after `LLM_TIMEOUT` after which a call is no longer counted as in flight, in case its worker has crashed."""

Rate = Annotated[float, Field(ge=0, le=1)]


def _text(read: Callable[[str], Any]) -> BeforeValidator:
    """Parses a value of the environment with `read`; a default value, which is not a text, stays unchanged."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


class LlmSettings(KafkaSettings, RedisSettings, PatienceSettings):
    """Settings of llm-consumer: the models that are asked, and how."""

    llm_base_url: str = Field(
        "http://llm-server:8000/v1", pattern=r"^https?://", description="Address of an OpenAI-compatible API."
    )
    llm_model: str = Field(
        "embedded",
        min_length=1,
        description="Model that is asked. The embedded server accepts any name and replies with its own.",
    )
    llm_api_key: SecretStr = Field(NO_KEY, description="Key of `LLM_BASE_URL`; it is not sent to other addresses.")
    llm_models: Annotated[tuple[ModelName, ...], NoDecode, _text(read_models)] = Field(
        (),
        description="A model for each attempt, `MODEL` or `MODEL@BASE_URL`, separated by commas; the last one is used "
        "for further attempts. Empty: `LLM_MODEL` for all.",
    )
    llm_api_keys: Annotated[dict[str, SecretStr], NoDecode, _text(read_keys)] = Field(
        {}, description="Keys of the further addresses in `LLM_MODELS`: `BASE_URL=KEY`, separated by commas."
    )
    llm_prices: Annotated[dict[ModelName, Price], NoDecode, _text(read_prices)] = Field(
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
    llm_rpm: Annotated[dict[str, int], NoDecode, _text(read_limits)] = Field(
        {},
        description="Requests a minute that a provider admits: `LIMIT` for `LLM_BASE_URL`, `BASE_URL=LIMIT` for "
        "others, separated by commas. Empty: the reported or learnt limit.",
    )
    llm_tpm: Annotated[dict[str, int], NoDecode, _text(read_limits)] = Field(
        {}, description="Tokens a minute that a provider admits, in the same format as `LLM_RPM`."
    )
    llm_concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Calls in flight of the whole fleet at one provider, for any number of replicas.",
    )
    llm_timeout: float = Field(60, gt=0, le=600, description="Timeout of a whole call in seconds.")
    llm_max_tokens: int = Field(128, ge=1, le=8192, description="Longest answer, in tokens.")
    llm_temperature: float = Field(
        0.7, ge=0, le=2, description="Temperature of the first attempt; each regeneration adds 0.15, up to 1."
    )
    llm_extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of each request to `LLM_BASE_URL`, as JSON, for extensions of a provider; null "
        "removes a field.",
    )
    llm_extra_bodies: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="The same for targets of `LLM_MODELS`: a JSON object with keys `BASE_URL`, `MODEL` or "
        "`MODEL@BASE_URL` and such objects as values.",
    )
    self_check_samples: int = Field(
        0,
        ge=0,
        le=MAX_SAMPLES,
        description="Further answers to a question without reference, with which its answer is compared; each needs a "
        "call. 0: answers without reference stay unscored.",
    )
    self_check_temperature: float = Field(
        1.0, ge=0, le=2, description="Temperature of these further answers, unless that of the attempt is higher."
    )
    fault_overload_rate: Rate = Field(
        0, description="Share of calls that fail like those of an overloaded provider, for demonstrations."
    )
    fault_quota_rate: Rate = Field(
        0, description="Share of calls that fail as if the quota were used up, for demonstrations."
    )

    @property
    def targets(self) -> tuple[Target, ...]:
        """Target of each attempt; the last one is used for further attempts."""
        return tuple(self._target(each) for each in self.llm_models or (ModelName(self.llm_model),))

    def _target(self, name: ModelName) -> Target:
        base_url = (name.base_url or self.llm_base_url).rstrip("/")  # the id of the limiter is made from it
        price = price_of(self.llm_prices, name.model, base_url)
        fields = fields_of(self.llm_extra_bodies, name.model, base_url)
        if same_api(base_url, self.llm_base_url):
            return Target(name.model, base_url, self.llm_api_key, self.llm_extra_body | fields, price)
        keys = [key for address, key in self.llm_api_keys.items() if same_api(address, base_url)]
        return Target(name.model, base_url, keys[0] if keys else NO_KEY, fields, price)

    def bounds(self, base_url: str) -> Bounds:
        """Returns the configured limits of a provider."""

        def limit(limits: dict[str, int]) -> int | None:
            first = limits.get("") if same_api(base_url, self.llm_base_url) else None
            return next((each for name, each in limits.items() if same_api(name, base_url)), first)

        return Bounds(
            concurrency=self.llm_concurrency,
            requests_per_minute=limit(self.llm_rpm),
            tokens_per_minute=limit(self.llm_tpm),
            call_seconds=self.llm_timeout + CALL_SLACK_SECONDS,
            longest_wait_seconds=self.retry_after_max,
        )

    @field_validator("llm_api_key", mode="before")
    @classmethod
    def _key_is_one_line(cls, key: Any) -> Any:
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        return one_line(text) if isinstance(text, str) else key

    @field_validator("llm_base_url")
    @classmethod
    def _address_holds_no_password(cls, base_url: str) -> str:
        if "@" in base_url.split("/")[2]:
            raise ValueError("no user or password in an address: the key is LLM_API_KEY")
        return base_url

    @field_validator("llm_extra_bodies")
    @classmethod
    def _fields_are_of_use(cls, fields: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        """Detects a typo in a name; without this check, the fields would silently not be sent."""
        named = info.data.get("llm_models") or (ModelName(info.data.get("llm_model", "")),)
        first = info.data.get("llm_base_url", "")
        for name in fields:
            if not any(fields_of({name: {"any": 1}}, each.model, each.base_url or first) for each in named):
                raise ValueError(f"no model that is asked has the name or address {name}")
        return fields

    @field_validator("llm_api_keys")
    @classmethod
    def _keys_are_of_use(cls, keys: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        """Detects a typo in an address; without this check, the provider would only report an invalid key."""
        for base_url in keys:
            if same_api(base_url, info.data.get("llm_base_url", "")):
                raise ValueError(f"{base_url} is LLM_BASE_URL: its key is LLM_API_KEY")
            if not any(same_api(base_url, each.base_url or "") for each in info.data.get("llm_models", ())):
                raise ValueError(f"no model in LLM_MODELS is at {base_url}")
        return keys

    @model_validator(mode="after")
    def _rates_are_shares(self) -> Self:
        if self.fault_overload_rate + self.fault_quota_rate > 1:
            raise ValueError("FAULT_OVERLOAD_RATE and FAULT_QUOTA_RATE are shares of all calls: together at most 1")
        return self

    @model_validator(mode="after")
    def _costs_are_known(self) -> Self:
        unknown = [each.model for each in self.targets if each.price is None]
        if self.llm_budget_cost is not None and unknown:
            raise ValueError(f"LLM_BUDGET_COST needs the price of each model: LLM_PRICES has none of {unknown[0]}")
        return self
