"""Settings of llm-consumer."""

from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from pipeline.messages import MAX_SAMPLES
from pipeline.providers.settings import ProviderSettings, parsed_by
from pipeline.providers.targets import NO_KEY, ModelName, Target, fields_of, price_of, read_keys, same_api
from pipeline.settings import KafkaSettings, PatienceSettings, RedisSettings

Rate = Annotated[float, Field(ge=0, le=1)]


class LlmSettings(KafkaSettings, RedisSettings, PatienceSettings, ProviderSettings):
    """Settings of llm-consumer: the models that are asked, and how."""

    llm_api_keys: Annotated[dict[str, SecretStr], NoDecode, parsed_by(read_keys)] = Field(
        {}, description="Keys of the further addresses in `LLM_MODELS`: `BASE_URL=KEY`, separated by commas."
    )
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
        self.check_prices(*self.targets)
        return self
