"""Replies of providers that others have recorded or documented, with their sources.

Ids and keys are shortened. A message that a source quotes alone is put into the provider's usual format. The source of
an invented reply says so.
"""

# ruff: noqa: RUF001  (Chinese punctuation in recorded messages)

from dataclasses import dataclass, field
from typing import Any

from pipeline.messages import Cause

RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}


@dataclass(frozen=True)
class Recorded:
    """A recorded reply.

    Attributes:
        provider: Name of the provider.
        case: The situation in which it is sent.
        source: Where it was recorded or is documented.
        status: HTTP status.
        body: JSON value, or the text of the body.
        meaning: Expected type: `answer`, `overload`, `quota` or `permanent`.
        cause: Expected cause of the error; None for an answer.
        diagnosis: Expected diagnosis of the check of a provider.
        headers: Headers in addition to Content-Type.
    """

    provider: str
    case: str
    source: str
    status: int
    body: Any
    meaning: str
    cause: Cause | None
    diagnosis: str
    headers: dict[str, str] = field(default_factory=dict)


def completion(message: dict[str, Any], finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "some-model",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
    } | more


def openai_error(message: str, kind: str | None, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def google_error(code: int, message: str, status: str, *details: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": status} | ({"details": details} if details else {})}]


RECORDED = [
    # --- OpenAI --------------------------------------------------------------------------------------------------
    Recorded(
        "OpenAI",
        "success",
        "https://platform.openai.com/docs/api-reference/chat/create",
        200,
        completion(
            {"role": "assistant", "content": "Hello!", "refusal": None, "annotations": []}, service_tier="default"
        ),
        "answer",
        None,
        "works",
    ),
    Recorded(
        "OpenAI",
        "rate of tokens",
        "https://github.com/openai/codex/issues/88",
        429,
        openai_error(
            "Rate limit reached for o4-mini in organization org-1 on tokens per min (TPM): Limit 200000, Used 162960, "
            "Requested 42288. Please try again in 1.574s. Visit https://platform.openai.com/account/rate-limits to "
            "learn more.",
            "tokens",
            "rate_limit_exceeded",
        ),
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "OpenAI",
        "rate of requests, with advice on billing",
        "https://github.com/arc53/DocsGPT/issues/287",
        429,
        openai_error(
            "Rate limit reached for default-text-embedding-ada-002 in organization org-xx on requests per min. Limit: "
            "3 / min. Please try again in 20s. Contact us through our help center at help.openai.com if you continue "
            "to have issues. Please add a payment method to your account to increase your rate limit. Visit "
            "https://platform.openai.com/account/billing to add a payment method.",
            "requests",
            "rate_limit_exceeded",
        ),
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "OpenAI",
        "no credit",
        "https://github.com/Pythagora-io/gpt-pilot/issues/340",
        429,
        openai_error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "OpenAI",
        "overload",
        "https://help.openai.com/en/articles/6891839-api-error-code-guidance",
        429,
        openai_error("The engine is currently overloaded. Please try again later.", None, None),
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "OpenAI",
        "wrong key",
        "https://github.com/chatanywhere/GPT_API_free/issues/62",
        401,
        openai_error(
            "Incorrect API key provided: sk-VKMIs***wjh3. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            "invalid_request_error",
            "invalid_api_key",
        ),
        "permanent",
        "key",
        "key",
    ),
    Recorded(
        "OpenAI",
        "wrong model",
        "https://github.com/rd-1-2022/ai-openai-helloworld/issues/9",
        404,
        openai_error(
            "The model `gpt-4o` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "OpenAI",
        "field that a newer model does not take",
        "https://github.com/tailcallhq/forgecode/issues/1081",
        400,
        openai_error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "invalid_request_error",
            "unsupported_parameter",
            "max_tokens",
        ),
        "permanent",
        "field",
        "field",
    ),
    Recorded(
        "OpenAI",
        "content refused by the model",
        "https://platform.openai.com/docs/guides/structured-outputs#refusals",
        200,
        completion({"role": "assistant", "content": None, "refusal": "I'm sorry, I cannot assist with that request."}),
        "permanent",
        "refused_content",
        "content",
    ),
    Recorded(
        "OpenAI",
        "quota of a day, with advice on billing",
        "https://github.com/feder-cr/invisible_playwright_mcp/issues/109",
        429,
        openai_error(
            "Rate limit reached for gpt-4o-mini in organization org-x on requests per day (RPD): Limit 200, Used 200, "
            "Requested 1. Please try again in 7m12s. Visit https://platform.openai.com/account/rate-limits to learn "
            "more. You can increase your rate limit by adding a payment method to your account at "
            "https://platform.openai.com/account/billing.",
            "requests",
            "rate_limit_exceeded",
        ),
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "OpenAI",
        "overload of its servers",
        "https://platform.openai.com/docs/guides/error-codes",
        503,
        openai_error("The engine is currently overloaded, please try again later", "server_error", None),
        "overload",
        "unavailable",
        "overload",
    ),
    Recorded(
        "OpenAI",
        "more tokens than it admits a minute",
        "https://github.com/vanna-ai/vanna-flask/issues/11",
        429,
        openai_error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The input or output "
            "tokens must be reduced in order to run successfully.",
            "tokens",
            "rate_limit_exceeded",
        ),
        "permanent",
        "context_length",
        "context",
    ),
    Recorded(
        "OpenAI",
        "prompt that is too long",
        "https://github.com/emmethalm/infiniteGPT/issues/6",
        400,
        openai_error(
            "This model's maximum context length is 4097 tokens. However, you requested 4972 tokens (3222 in the "
            "messages, 1750 in the completion). Please reduce the length of the messages or completion.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
        "permanent",
        "context_length",
        "context",
    ),
    Recorded(
        "OpenAI",
        "temperature that a newer model does not take",
        "https://github.com/gabrii/Cursor-Azure-GPT-5/issues/33",
        400,
        openai_error(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
            "supported.",
            "invalid_request_error",
            "unsupported_value",
            "temperature",
        ),
        "permanent",
        "field",
        "field",
    ),
    Recorded(
        "OpenAI",
        "model that is not for the key",
        "https://github.com/cursor/cursor/issues/2953",
        403,
        openai_error(
            "Project `proj_x` does not have access to model `gpt-4o-mini`", "invalid_request_error", "model_not_found"
        ),
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "OpenAI",
        "country",
        "https://github.com/songquanpeng/one-api/issues/1692",
        403,
        openai_error(
            "Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"
        ),
        "permanent",
        "access",
        "access",
    ),
    Recorded(
        "OpenAI",
        "organization that is not verified",
        "https://github.com/microsoft/vscode/issues/260670",
        400,
        openai_error(
            "Your organization must be verified to stream this model. Please go to: "
            "https://platform.openai.com/settings/organization/general and click on Verify Organization. If you just "
            "verified, it can take up to 15 minutes for access to propagate.",
            "invalid_request_error",
            "unsupported_value",
            "stream",
        ),
        "permanent",
        "access",
        "access",
    ),
    # --- Anthropic -----------------------------------------------------------------------------------------------
    Recorded(
        "Anthropic",
        "overload",
        "https://github.com/anthropics/anthropic-sdk-typescript/issues/616",
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        "overload",
        "unavailable",
        "overload",
    ),
    Recorded(
        "Anthropic",
        "no credit",
        "https://github.com/anthropics/claude-quickstarts/issues/229",
        400,
        openai_error(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
            "invalid_request_error",
            "invalid_request_error",
        ),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "Anthropic",
        "quota of a day",
        "https://github.com/SakanaAI/AI-Scientist/issues/115",
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "Number of request tokens has exceeded your daily rate limit "
                "(https://docs.anthropic.com/en/api/rate-limits); see the response headers for current usage. Please "
                "reduce the prompt length or the maximum tokens requested, or try again later.",
            },
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "Anthropic",
        "rate, in its own headers",
        "made up in the format of https://docs.anthropic.com/en/api/rate-limits",
        429,
        openai_error(
            "This request would exceed your organization's rate limit of 50,000 input tokens per minute.",
            "rate_limit_error",
            "rate_limit_error",
        ),
        "overload",
        "rate_limit",
        "rate",
        {"Retry-After": "12", "anthropic-ratelimit-input-tokens-limit": "50000"},
    ),
    Recorded(
        "Anthropic",
        "prompt that is too long",
        "https://github.com/sojohnnysaid/project-guide/issues/2",
        400,
        openai_error("prompt is too long: 208656 tokens > 200000 maximum", "invalid_request_error", None),
        "permanent",
        "context_length",
        "context",
    ),
    Recorded(
        "Anthropic",
        "two fields of which it takes one",
        "https://github.com/cloud-apim/otoroshi-llm-extension/issues/140",
        400,
        openai_error(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            "invalid_request_error",
            "invalid_request_error",
        ),
        "permanent",
        "field",
        "field",
    ),
    # --- Azure OpenAI --------------------------------------------------------------------------------------------
    Recorded(
        "Azure OpenAI",
        "content refused",
        "https://github.com/openai/openai-dotnet/issues/55",
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy. Please modify your prompt and retry. To learn more about our content filtering policies "
                "please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
                },
            }
        },
        "permanent",
        "refused_content",
        "content",
    ),
    Recorded(
        "Azure OpenAI",
        "rate, with a wait of a day",
        "https://github.com/jasonacox/TinyLLM/issues/17",
        429,
        {
            "error": {
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-05-15 "
                "have exceeded token rate limit of your current AIServices S0 pricing tier. Please retry after 86400 "
                "seconds. Please contact Azure support service if you would like to further increase the default rate "
                "limit.",
            }
        },
        "quota",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "Azure OpenAI",
        "high demand",
        "https://github.com/pollinations/pollinations/issues/6260",
        429,
        openai_error(
            "The system is currently experiencing high demand and cannot process your request. Your request exceeds "
            "the maximum usage size allowed during peak load. Please retry after 20 seconds.",
            None,
            "429",
        ),
        "overload",
        "rate_limit",
        "rate",
    ),
    # --- Gemini --------------------------------------------------------------------------------------------------
    Recorded(
        "Gemini",
        "success",
        "https://ai.google.dev/gemini-api/docs/openai",
        200,
        completion({"role": "assistant", "content": "AI learns from data."}, model="gemini-2.5-flash"),
        "answer",
        None,
        "works",
    ),
    Recorded(
        "Gemini",
        "quota of a minute",
        "https://github.com/RooCodeInc/Roo-Code/issues/3883",
        429,
        google_error(
            429,
            "You exceeded your current quota, please check your plan and billing details. For more information on this "
            "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.",
            "RESOURCE_EXHAUSTED",
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier"}],
            },
            RETRY_INFO,
        ),
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "Gemini",
        "quota without details",
        "https://github.com/n4ze3m/page-assist/issues/406",
        429,
        google_error(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "Gemini",
        "overload",
        "https://github.com/lobehub/lobehub/issues/9728",
        503,
        google_error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
        "overload",
        "unavailable",
        "overload",
    ),
    Recorded(
        "Gemini",
        "wrong key",
        "https://github.com/continuedev/continue/issues/10290",
        400,
        google_error(
            400,
            "API key not valid. Please pass a valid API key.",
            "INVALID_ARGUMENT",
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            },
        ),
        "permanent",
        "key",
        "key",
    ),
    Recorded(
        "Gemini",
        "wrong model",
        "https://github.com/piersolenski/wtf.nvim/issues/64",
        404,
        google_error(
            404,
            "models/gemini-1.5-flash is not found for API version v1main, or is not supported for generateContent. "
            "Call ListModels to see the list of available models and their supported methods.",
            "NOT_FOUND",
        ),
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "Gemini",
        "field that it does not know",
        "https://github.com/liliMozi/openhanako/issues/394",
        400,
        google_error(
            400, 'Invalid JSON payload received. Unknown name "store": Cannot find field.', "INVALID_ARGUMENT"
        ),
        "permanent",
        "field",
        "field",
    ),
    Recorded(
        "a gateway to Gemini",
        "content refused, in OpenAI's word",
        "https://github.com/epam/ai-dial-adapter-vertexai/pull/149",
        200,
        completion({"role": "assistant"}, "content_filter"),
        "permanent",
        "refused_content",
        "content",
    ),
    Recorded(
        "Gemini",
        "content refused, in its own word",
        "https://github.com/HKUDS/Vibe-Trading/pull/308",
        200,
        completion({"role": "assistant"}, "PROHIBITED_CONTENT"),
        "permanent",
        "refused_content",
        "content",
    ),
    Recorded(
        "Gemini",
        "quota of a day, with its value",
        "https://github.com/ogkalu2/comic-translate/issues/403",
        429,
        google_error(
            429,
            "You exceeded your current quota, please check your plan and billing details. For more information on this "
            "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. \n* Quota exceeded for metric: "
            "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, model: "
            "gemini-2.5-flash\nPlease retry in 58.821668433s.",
            "RESOURCE_EXHAUSTED",
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                        "quotaDimensions": {"model": "gemini-2.5-flash", "location": "global"},
                        "quotaValue": "20",
                    }
                ],
            },
        ),
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "Gemini",
        "no credit, in the status of a quota",
        "https://github.com/dyad-sh/dyad/issues/3626",
        429,
        google_error(
            429,
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your "
            "project and billing.",
            "RESOURCE_EXHAUSTED",
        ),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "Gemini",
        "key that has leaked",
        "https://github.com/continuedev/continue/issues/11541",
        403,
        google_error(403, "Your API key was reported as leaked. Please use another API key.", "PERMISSION_DENIED"),
        "permanent",
        "key",
        "key",
    ),
    Recorded(
        "Gemini",
        "country",
        "https://github.com/gemini-api-php/client/issues/32",
        400,
        google_error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"),
        "permanent",
        "access",
        "access",
    ),
    Recorded(
        "Gemini",
        "prompt that is too long",
        "https://github.com/google-gemini/gemini-cli/issues/4118",
        400,
        google_error(
            400,
            "The input token count (132478) exceeds the maximum number of tokens allowed (131072).",
            "INVALID_ARGUMENT",
        ),
        "permanent",
        "context_length",
        "context",
    ),
    Recorded(
        "Gemma at Gemini's API",
        "system message",
        "https://github.com/0xPlaygrounds/rig/issues/788",
        400,
        google_error(400, "Developer instruction is not enabled for models/gemma-3-27b-it", "INVALID_ARGUMENT"),
        "permanent",
        "field",
        "field",
    ),
    # --- Groq ----------------------------------------------------------------------------------------------------
    Recorded(
        "Groq",
        "quota of a day",
        "https://github.com/continuedev/continue/issues/10920",
        429,
        openai_error(
            "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_x` service tier `on_demand` "
            "on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s. Need "
            "more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
            "tokens",
            "rate_limit_exceeded",
        ),
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "Groq",
        "more tokens than it admits a minute",
        "https://github.com/bklieger-groq/NotebookLlama-Groq/issues/1",
        413,
        openai_error(
            "Request too large for model `llama-3.1-70b-versatile` in organization `org_x` on tokens per minute (TPM): "
            "Limit 6000, Requested 18993, please reduce your message size and try again. Visit "
            "https://console.groq.com/docs/rate-limits for more information.",
            "tokens",
            "rate_limit_exceeded",
        ),
        "permanent",
        "context_length",
        "context",
    ),
    Recorded(
        "Groq",
        "model that it has no more",
        "https://github.com/atiilla/sqlmap-ai/issues/3",
        400,
        openai_error(
            "The model `qwen-qwq-32b` has been decommissioned and is no longer supported. Please refer to "
            "https://console.groq.com/docs/deprecations for a recommendation on which model to use instead.",
            "invalid_request_error",
            "model_decommissioned",
        ),
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "Groq",
        "blocked by Cloudflare",
        "https://github.com/Mintplex-Labs/anything-llm/issues/2003",
        403,
        '<!DOCTYPE html>\n<html class="no-js" lang="en-US">\n<head>\n<title>Attention Required! | '
        "Cloudflare</title>\n</head>\n<body><h1>Sorry, you have been blocked</h1></body>\n</html>",
        "permanent",
        "access",
        "access",
    ),
    # --- xAI -----------------------------------------------------------------------------------------------------
    Recorded(
        "xAI",
        "no credit, with the status of a rate",
        "https://github.com/continuedev/continue/issues/10373",
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team x has either used all available credits or reached its monthly spending limit. To "
            "continue making API requests, please purchase more credits or raise your spending limit.",
        },
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "xAI",
        "no credit, with the status of a wrong key",
        "https://github.com/NousResearch/hermes-agent/issues/26847",
        403,
        {
            "code": "personal-team-blocked:spending-limit",
            "error": "You have run out of credits or need a Grok subscription. Add credits at "
            "https://grok.com/?_s=usage or upgrade at https://grok.com/supergrok.",
        },
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "xAI",
        "content refused",
        "https://github.com/UKGovernmentBEIS/inspect_ai/pull/2267",
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Team: x, API key ID: y, Model: grok-4-0709, Failed check: "
            "SAFETY_CHECK_TYPE_BIO",
        },
        "permanent",
        "refused_content",
        "content",
    ),
    # --- Mistral, Cerebras, Together -----------------------------------------------------------------------------
    Recorded(
        "Mistral",
        "field that it does not know",
        "https://github.com/editor-code-assistant/eca/issues/231",
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "max_completion_tokens"],
                        "msg": "Extra inputs are not permitted",
                        "input": 32000,
                    }
                ]
            },
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
        "permanent",
        "field",
        "field",
    ),
    Recorded(
        "Cerebras",
        "rate, in the words of a quota",
        "https://github.com/nminaya/grammar-nazi-bot/issues/959",
        429,
        {
            "message": "Requests per minute limit exceeded - too many requests sent.",
            "type": "too_many_requests_error",
            "param": "quota",
            "code": "request_quota_exceeded",
        },
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "Together",
        "rate, in the words of credit",
        "https://github.com/togethercomputer/MoA/issues/27",
        429,
        openai_error(
            "You have been rate limited. Your rate limit is 60 queries per minute. Please navigate to "
            "https://api.together.xyz/settings/billing to upgrade to a paid plan.",
            "credit_limit",
            None,
        ),
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "Together",
        "no credit",
        "https://github.com/expectedparrot/edsl/issues/2098",
        402,
        openai_error(
            "Credit limit exceeded. Please navigate to https://api.together.xyz/settings/billing to add credit or "
            "upgrade your plan.",
            "credit_limit",
            None,
        ),
        "quota",
        "credit",
        "credit",
    ),
    # --- Chinese providers ---------------------------------------------------------------------------------------
    Recorded(
        "DeepSeek",
        "no credit",
        "https://github.com/iflow-ai/iflow-cli/issues/328",
        402,
        openai_error("Insufficient Balance", "unknown_error", "invalid_request_error"),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "DeepSeek behind a gateway",
        "no credit, with the status of a wrong request",
        "https://github.com/Aider-AI/aider/issues/4851",
        400,
        openai_error("Insufficient Balance", "unknown_error", "invalid_request_error"),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "Moonshot",
        "no credit",
        "https://github.com/666ghj/BettaFish/issues/524",
        429,
        {
            "error": {
                "message": "Your account org-x <ak-f7azbgd8toki11> is suspended due to insufficient balance, please "
                "recharge your account or check your plan and billing details",
                "type": "exceeded_current_quota_error",
            }
        },
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "Moonshot",
        "rate",
        "https://github.com/harry0703/MoneyPrinterTurbo/issues/339",
        429,
        {
            "error": {
                "message": "Your account x request reached max request: 3, please try again after 1 seconds",
                "type": "rate_limit_reached_error",
            }
        },
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "Zhipu",
        "no credit",
        "https://github.com/langgenius/dify/issues/5850",
        429,
        {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}},
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "Z.ai",
        "no credit, in the type of a rate",
        "https://github.com/zai-org/feedback/issues/789",
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "code": "1113",
                "message": "[1113][Insufficient balance or no resource package. Please recharge.][20260922232915]",
            },
        },
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "Zhipu",
        "rate",
        "https://github.com/zhukunpenglinyutong/jetbrains-cc-gui/issues/897",
        429,
        {"error": {"code": "1302", "message": "您的账户已达到速率限制，请您控制请求频率"}},
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "Zhipu",
        "overload of a model",
        "https://github.com/zhukunpenglinyutong/jetbrains-cc-gui/issues/897",
        429,
        {"error": {"code": "1305", "message": "该模型当前访问量过大，请您稍后再试"}},
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "Zhipu",
        "quota of five hours",
        "https://github.com/Wei-Shaw/sub2api/issues/362",
        429,
        {"error": {"code": "1308", "message": "已达到 5 小时的使用上限。您的限额将在 2026-01-22 17:57:30 重置。"}},
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "DashScope",
        "no credit",
        "https://github.com/tencentmusic/supersonic/issues/1572",
        400,
        openai_error(
            "Access denied, please make sure your account is in good standing. For details, see: "
            "https://help.aliyun.com/zh/model-studio/error-code#overdue-payment",
            "Arrearage",
            "Arrearage",
        ),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "DashScope",
        "content refused",
        "https://github.com/camel-ai/owl/issues/432",
        400,
        openai_error(
            "Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"
        ),
        "permanent",
        "refused_content",
        "content",
    ),
    Recorded(
        "DashScope",
        "prompt that is too long",
        "made up in the format of https://help.aliyun.com/zh/model-studio/error-code",
        400,
        openai_error(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
            "invalid_request_error",
            "invalid_parameter_error",
        ),
        "permanent",
        "context_length",
        "context",
    ),
    Recorded(
        "Kimi for coding",
        "quota of a month, with the status of a wrong key",
        "https://github.com/NanmiCoder/cc-haha/issues/1208",
        403,
        {
            "type": "error",
            "error": {
                "type": "permission_error",
                "message": "You've reached your usage limit for this billing cycle. Your quota will be refreshed in "
                "the next cycle. To continue now, purchase extra usage or upgrade your plan: https://www.kimi.com/code",
            },
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "one-api",
        "no credit, with the status of a wrong key",
        "https://github.com/popjane/free_chatgpt_api/issues/78",
        403,
        openai_error("user quota is not enough (request id: 1)", "v_api_error", "insufficient_user_quota", ""),
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "new-api",
        "no credit, in Chinese",
        "https://github.com/QuantumNous/new-api/issues/6929",
        403,
        openai_error("用户额度不足, 剩余额度: ＄-0.000002 (request id: 1)", "new_api_error", None),
        "quota",
        "credit",
        "credit",
    ),
    # --- Ollama --------------------------------------------------------------------------------------------------
    Recorded(
        "Ollama",
        "success",
        "https://docs.ollama.com/openai.md",
        200,
        completion({"role": "assistant", "content": "This is a test."}, model="llama3", system_fingerprint="fp_ollama"),
        "answer",
        None,
        "works",
    ),
    Recorded(
        "Ollama",
        "overload",
        "https://github.com/ollama/ollama/pull/4144",
        503,
        openai_error("server busy, please try again.  maximum pending requests exceeded", "api_error", None),
        "overload",
        "unavailable",
        "overload",
    ),
    Recorded(
        "Ollama",
        "overload of a cloud model",
        "https://github.com/ollama/ollama/issues/15934",
        503,
        {"error": "Server overloaded, please retry shortly (ref: aaa65c70)"},
        "overload",
        "unavailable",
        "overload",
    ),
    Recorded(
        "Ollama",
        "wrong model",
        "https://github.com/netease-youdao/QAnything/issues/555",
        404,
        openai_error('model "ollama" not found, try pulling it first', "api_error", None),
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "Ollama",
        "base URL without /v1, or of a page that there is not",
        "https://github.com/ollama/ollama/issues/3050",
        404,
        "404 page not found",
        "permanent",
        "other",
        "address",
    ),
    Recorded(
        "LM Studio",
        "prompt that is too long",
        "https://github.com/Gitlawb/openclaude/issues/353",
        400,
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: "
            "13055>= n_ctx: 4096). Try to load the model with a larger context length, or provide a shorter input."
        },
        "permanent",
        "context_length",
        "context",
    ),
    # --- vLLM ----------------------------------------------------------------------------------------------------
    Recorded(
        "vLLM",
        "success",
        "https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html",
        200,
        completion({"role": "assistant", "content": "Hello.", "reasoning_content": None, "tool_calls": []}),
        "answer",
        None,
        "works",
    ),
    Recorded(
        "vLLM",
        "wrong model",
        "https://github.com/vllm-project/vllm/issues/3485",
        404,
        {
            "object": "error",
            "message": "The model `Qwen1.5-14B-Chat-GPTQ-Int8` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "vLLM",
        "wrong key",
        "https://github.com/vllm-project/vllm/blob/v0.6.0/vllm/entrypoints/openai/api_server.py",
        401,
        {"error": "Unauthorized"},
        "permanent",
        "key",
        "key",
    ),
    Recorded(
        "vLLM on RunPod",
        "wrong model, with the status of a success",
        "https://github.com/runpod-workers/worker-vllm/issues/57",
        200,
        {
            "code": 404,
            "message": "The model `a model that does not exist` does not exist.",
            "object": "error",
            "param": None,
            "type": "NotFoundError",
        },
        "permanent",
        "model",
        "model",
    ),
    Recorded(
        "vLLM",
        "system message to a model that knows none",
        "https://github.com/huggingface/chat-ui/issues/1386",
        400,
        {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400},
        "permanent",
        "field",
        "field",
    ),
    # --- OpenRouter and other gateways ---------------------------------------------------------------------------
    Recorded(
        "OpenRouter",
        "quota of a day",
        "https://github.com/Gitlawb/openclaude/issues/936",
        429,
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model "
                "requests per day",
                "code": 429,
                "metadata": {"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0"}},
            }
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "OpenRouter",
        "no credit",
        "https://github.com/astrio-labs/forall/issues/76",
        402,
        {
            "error": {
                "message": "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, "
                "but can only afford 2666. To increase, visit https://openrouter.ai/settings/credits and upgrade to a "
                "paid account",
                "code": 402,
                "metadata": {"provider_name": None},
            },
            "user_id": "user_1",
        },
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "a gateway",
        "quota of a day, with a code that is a text, with the status of a success",
        "https://github.com/Gitlawb/openclaude/issues/1549",
        200,
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-day-high-balance.",
                "type": "rate_limit_error",
                "code": "429",
            }
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "OpenRouter",
        "quota of a day, in the headers of the body",
        "made up in the format of https://github.com/Gitlawb/openclaude/issues/936",
        429,
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-day.",
                "code": 429,
                "metadata": {
                    "headers": {
                        "X-RateLimit-Limit": "50",
                        "X-RateLimit-Remaining": "0",
                        "X-RateLimit-Reset": "1767398400000",
                    }
                },
            }
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "OpenRouter",
        "quota of Gemini, in quotation marks",
        "made up in the format of https://github.com/tailcallhq/forgecode/issues/372",
        429,
        {
            "error": {
                "message": "Provider returned error",
                "code": 429,
                "metadata": {
                    "provider_name": "Google AI Studio",
                    "raw": '{"error": {"code": 429, "message": "You exceeded your current quota", "status": '
                    '"RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", '
                    '"retryDelay": "47s"}]}}',
                },
            }
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "OpenRouter",
        "spending limit of the key",
        "https://github.com/RooCodeInc/Roo-Code/issues/515",
        403,
        {"error": {"message": "Key limit exceeded. Manage it using https://openrouter.ai/keys", "code": 403}},
        "quota",
        "credit",
        "credit",
    ),
    Recorded(
        "OpenRouter",
        "content refused, which costs no credit",
        "made up in the format of https://openrouter.ai/docs/api-reference/errors",
        403,
        {
            "error": {
                "message": 'some-model requires moderation. Your input was flagged for "violence". No credits were '
                "charged.",
                "code": 403,
                "metadata": {"reasons": ["violence"], "provider_name": "OpenAI"},
            }
        },
        "permanent",
        "refused_content",
        "content",
    ),
    Recorded(
        "OpenRouter",
        "privacy settings that no provider meets",
        "https://github.com/truefoundry/models/pull/826",
        404,
        {
            "error": {
                "message": "No endpoints available matching your guardrail restrictions and data policy. Configure: "
                "https://openrouter.ai/settings/privacy",
                "code": 404,
            }
        },
        "permanent",
        "access",
        "access",
    ),
    Recorded(
        "LiteLLM",
        "rate",
        "https://github.com/microsoft/agent-lightning/issues/290",
        429,
        openai_error(
            "No deployments available for selected model, Try again in 5 seconds. Passed model=some-model. "
            "pre-call-checks=False, cooldown_list=['1']",
            None,
            "429",
        ),
        "overload",
        "rate_limit",
        "rate",
    ),
    Recorded(
        "GitHub Models",
        "quota of a day",
        "made up in the format of https://docs.github.com/en/github-models (words as clients of it quote them)",
        429,
        {
            "error": {
                "code": "RateLimitReached",
                "message": "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 5631 seconds before "
                "retrying.",
            }
        },
        "quota",
        "quota",
        "quota",
    ),
    Recorded(
        "an API behind Cloudflare",
        "client that it bars",
        "https://github.com/anomalyco/opencode/issues/41320",
        403,
        "error code: 1010",
        "permanent",
        "access",
        "access",
    ),
    # --- The embedded server -------------------------------------------------------------------------------------
    Recorded(
        "llama.cpp",
        "still loading",
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        "overload",
        "unavailable",
        "overload",
    ),
    Recorded(
        "llama.cpp",
        "prompt that is too long",
        "https://github.com/ggml-org/llama.cpp/pull/15780",
        400,
        {
            "error": {
                "code": 400,
                "message": "request (2478 tokens) exceeds the available context size (2048 tokens)",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 2478,
                "n_ctx": 2048,
            }
        },
        "permanent",
        "context_length",
        "context",
    ),
    # --- None of these -------------------------------------------------------------------------------------------
    Recorded(
        "a web server",
        "a page",
        "https://www.rfc-editor.org/rfc/rfc9110#name-200-ok",
        200,
        "<!doctype html><title>Welcome</title>",
        "overload",
        "no_answer",
        "incompatible",
    ),
]
