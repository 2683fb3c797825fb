"""Settings of judge-service."""

import re
from typing import Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from judge_service.adapters import ApiName
from pipeline.providers.settings import (
    BASE_URL_PATTERN,
    DEFAULT_BASE_URL,
    ProviderSettings,
    key_of_one_line,
    without_password,
)
from pipeline.providers.targets import NO_KEY, ModelName, Target, price_of, same_api
from pipeline.settings import JudgeModelSettings, RedisSettings

_OWN_NAMES = re.compile(r"\bLLM_(BASE_URL|MAX_TOKENS|EXTRA_BODY|TIMEOUT|MODEL|API_KEY)\b")


def with_own_names(text: str) -> str:
    """Returns an explanation with the judge's settings in place of those of llm-consumer."""
    return _OWN_NAMES.sub(r"JUDGE_\1", text)


class JudgeSettings(RedisSettings, ProviderSettings, JudgeModelSettings):
    """Settings of judge-service: the model that judges, and how it is asked."""

    judge_base_url: str = Field(DEFAULT_BASE_URL, pattern=BASE_URL_PATTERN, description="Address of the judge's API.")
    judge_api_key: SecretStr = Field(
        SecretStr(""), description="Key of `JUDGE_BASE_URL`. Empty: `LLM_API_KEY`, if both addresses are the same."
    )
    judge_api: ApiName = Field(
        "chat",
        description="Interface of the judge: `chat` (a chat completion), `decisions` or `systemone` (a decision "
        "model).",
    )
    judge_max_tokens: int = Field(
        16, ge=1, le=8192, description="Longest reply of the judge, in tokens. A model that thinks needs more."
    )
    judge_extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of each request to the judge, as JSON, for extensions of a provider; null removes "
        "a field.",
    )

    @property
    def target(self) -> Target:
        """Target of the calls."""
        base_url = self.judge_base_url.rstrip("/")  # the id of the limiter is made from it
        key = self.judge_api_key
        if not key.get_secret_value():
            key = self.llm_api_key if same_api(base_url, self.llm_base_url) else NO_KEY
        price = price_of(self.llm_prices, self.judge_model, base_url)
        return Target(self.judge_model, base_url, key, self.judge_extra_body, price)

    @property
    def judges_itself(self) -> bool:
        """Whether the judge is one of the models that answer."""
        answering = self.llm_models or (ModelName(self.llm_model),)
        return any(
            each.model == self.judge_model and same_api(each.base_url or self.llm_base_url, self.judge_base_url)
            for each in answering
        )

    @field_validator("judge_api_key", mode="before")
    @classmethod
    def _judge_key_is_one_line(cls, key: Any) -> Any:
        return key_of_one_line(key)

    @field_validator("judge_base_url")
    @classmethod
    def _judge_address_holds_no_password(cls, base_url: str) -> str:
        return without_password(base_url, "JUDGE_API_KEY")

    @model_validator(mode="after")
    def _cost_is_known(self) -> Self:
        if self.judge_model:
            self.check_prices(self.target)
        return self
