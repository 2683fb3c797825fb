"""What providers answer: shapes that others have recorded, with where.

Ids and keys in them are shortened. Where a source gives the words alone, they stand in the provider's usual shape.
"""

from dataclasses import dataclass, field
from typing import Any

RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}


@dataclass(frozen=True)
class Recorded:
    """One answer.

    Attributes:
        provider: Who gives it.
        case: When.
        source: Where it was recorded or is documented.
        status: HTTP status.
        body: JSON, or a text.
        meaning: How it is to be sorted: `answer`, `overload`, `quota` or `permanent`.
        diagnosis: What the check of a provider has to find.
        headers: Beside Content-Type.
    """

    provider: str
    case: str
    source: str
    status: int
    body: Any
    meaning: str
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
        "overload",
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
        "overload",
    ),
    Recorded(
        "OpenAI",
        "quota",
        "https://github.com/Pythagora-io/gpt-pilot/issues/340",
        429,
        openai_error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "quota",
        "quota",
    ),
    Recorded(
        "OpenAI",
        "overload",
        "https://help.openai.com/en/articles/6891839-api-error-code-guidance",
        429,
        openai_error("The engine is currently overloaded. Please try again later.", None, None),
        "overload",
        "overload",
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
    ),
    Recorded(
        "OpenAI",
        "content refused by the model",
        "https://platform.openai.com/docs/guides/structured-outputs#refusals",
        200,
        completion({"role": "assistant", "content": None, "refusal": "I'm sorry, I cannot assist with that request."}),
        "permanent",
        "content",
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
        "content",
    ),
    # --- Gemini --------------------------------------------------------------------------------------------------
    Recorded(
        "Gemini",
        "success",
        "https://ai.google.dev/gemini-api/docs/openai",
        200,
        completion({"role": "assistant", "content": "AI learns from data."}, model="gemini-2.5-flash"),
        "answer",
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
    ),
    Recorded(
        "Gemini",
        "quota without details",
        "https://github.com/n4ze3m/page-assist/issues/406",
        429,
        google_error(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
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
    ),
    Recorded(
        "a gateway to Gemini",
        "content refused, in OpenAI's word",
        "https://github.com/epam/ai-dial-adapter-vertexai/pull/149",
        200,
        completion({"role": "assistant"}, "content_filter"),
        "permanent",
        "content",
    ),
    Recorded(
        "Gemini",
        "content refused, in its own word",
        "https://github.com/HKUDS/Vibe-Trading/pull/308",
        200,
        completion({"role": "assistant"}, "PROHIBITED_CONTENT"),
        "permanent",
        "content",
    ),
    # --- Ollama --------------------------------------------------------------------------------------------------
    Recorded(
        "Ollama",
        "success",
        "https://docs.ollama.com/openai.md",
        200,
        completion({"role": "assistant", "content": "This is a test."}, model="llama3", system_fingerprint="fp_ollama"),
        "answer",
        "works",
    ),
    Recorded(
        "Ollama",
        "overload",
        "https://github.com/ollama/ollama/pull/4144",
        503,
        openai_error("server busy, please try again.  maximum pending requests exceeded", "api_error", None),
        "overload",
        "overload",
    ),
    Recorded(
        "Ollama",
        "overload of a cloud model",
        "https://github.com/ollama/ollama/issues/15934",
        503,
        {"error": "Server overloaded, please retry shortly (ref: aaa65c70)"},
        "overload",
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
    ),
    Recorded(
        "Ollama",
        "base URL without /v1, or of a page that there is not",
        "https://github.com/ollama/ollama/issues/3050",
        404,
        "404 page not found",
        "permanent",
        "address",
    ),
    # --- vLLM ----------------------------------------------------------------------------------------------------
    Recorded(
        "vLLM",
        "success",
        "https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html",
        200,
        completion({"role": "assistant", "content": "Hello.", "reasoning_content": None, "tool_calls": []}),
        "answer",
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
    ),
    Recorded(
        "vLLM",
        "wrong key",
        "https://github.com/vllm-project/vllm/blob/v0.6.0/vllm/entrypoints/openai/api_server.py",
        401,
        {"error": "Unauthorized"},
        "permanent",
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
        "quota",
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
    ),
    # --- The embedded server -------------------------------------------------------------------------------------
    Recorded(
        "llama.cpp",
        "still loading",
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        "overload",
        "overload",
    ),
    # --- None of these -------------------------------------------------------------------------------------------
    Recorded(
        "a web server",
        "a page",
        "https://www.rfc-editor.org/rfc/rfc9110#name-200-ok",
        200,
        "<!doctype html><title>Welcome</title>",
        "overload",
        "incompatible",
    ),
]
