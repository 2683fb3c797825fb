"""Settings of llm-consumer."""

from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, model_validator

from pipeline.messages import MAX_SAMPLES
from pipeline.settings import KafkaSettings, RedisSettings, RetryAfterSettings

Rate = Annotated[float, Field(ge=0, le=1)]


class LlmSettings(KafkaSettings, RedisSettings, RetryAfterSettings):
    """Which model is asked, and how."""

    llm_base_url: str = Field(
        "http://llm-server:8000/v1", pattern=r"^https?://", description="Address of an OpenAI-compatible API."
    )
    llm_model: str = Field("smollm2-135m-instruct", min_length=1, description="Model that is asked.")
    llm_api_key: SecretStr = Field(SecretStr("not-needed"), description="Key of the API.")
    llm_concurrency: int = Field(4, ge=1, le=256, description="Calls in flight in each replica.")
    llm_timeout: float = Field(
        60, gt=0, le=600, description="Seconds after which a call is given up, whatever came of it so far."
    )
    llm_max_tokens: int = Field(128, ge=1, le=8192, description="Longest answer, in tokens.")
    llm_temperature: float = Field(0.7, ge=0, le=2, description="Of the first attempt; regenerations add 0.2 each.")
    llm_extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of each request, as JSON, for what a provider adds."
    )
    self_check_samples: int = Field(
        0,
        ge=0,
        le=MAX_SAMPLES,
        description="Further answers asked for when a question has no reference, to compare the answer with; each "
        "costs a call. 0: such questions stay unscored.",
    )
    self_check_temperature: float = Field(
        1.0, ge=0, le=2, description="Of those further answers, unless the attempt's own is higher."
    )
    fault_overload_rate: Rate = Field(0, description="Share of calls that fail as overloaded, for demonstrations.")
    fault_quota_rate: Rate = Field(0, description="Share of calls that fail as out of quota, for demonstrations.")

    @model_validator(mode="after")
    def _rates_are_shares(self) -> Self:
        if self.fault_overload_rate + self.fault_quota_rate > 1:
            raise ValueError("FAULT_OVERLOAD_RATE and FAULT_QUOTA_RATE are shares of all calls: together at most 1")
        return self
