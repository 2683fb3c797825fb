# ruff: noqa: RUF001  (Chinese punctuation in recorded messages)

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pipeline.messages import NOT_ADMITTED, ProviderError
from pipeline.providers.errors import (
    MAX_MESSAGE_CHARACTERS,
    classify_empty,
    classify_error_body,
    classify_status,
    redacted,
    unusable_response,
)
from tests.unit.pipeline.providers.provider_responses import RECORDED
from tests.unit.samples import NOW

GEMINI = '{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}'
OPENAI = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
RATE = '{"error": {"message": "Rate limit reached for requests per second", "code": "rate_limit_exceeded"}}'
OLLAMA = '{"error": "server busy, please try again. maximum pending requests exceeded"}'

# More error messages, by cause, of providers and gateways that `provider_responses.py` does not have: (status, text).
# Some are made up in the style of the real ones.
WORDS = {
    "rate_limit": [
        (429, "1302 您的账户已达到速率限制，请您控制请求频率"),
        (429, "1302 您当前使用该API的并发数过高，请降低并发，或联系客服增加限额"),
        (429, "1305 该模型当前访问量过大，请您稍后再试"),
        (429, "请求过于频繁，请稍后再试"),
        (403, "请求过于频繁，请稍后再试"),
        (400, "请求过于频繁，请稍后再试"),
        (403, "RPM limit exceeded. Please complete identity verification to lift the restriction."),
        (
            429,
            "You have been rate limited. Your rate limit is 60 queries per minute. Please navigate to "
            "https://api.together.xyz/settings/billing to upgrade to a paid plan. credit_limit",
        ),
        (
            429,
            "Requests per minute limit exceeded - too many requests sent. too_many_requests_error quota "
            "request_quota_exceeded",
        ),
        (
            429,
            "You are using a Trial key, which is limited to 20 API calls / minute. You can continue to use "
            "the Trial key for free or upgrade",
        ),
        (
            429,
            "Rate limit exceeded: free-models-per-min. Add 10 credits to unlock 1000 free model requests per day",
        ),
        (
            429,
            "Your account x request reached organization max RPM: 3, please try again after 1 seconds "
            "rate_limit_reached_error",
        ),
        (429, "The engine is currently overloaded, please try again later engine_overloaded_error"),
        (
            429,
            "Rate limit reached for x on requests per min. Limit: 3 / min. Please try again in 20s. Please "
            "add a payment method to your account to increase your rate limit. Visit "
            "https://platform.openai.com/account/billing to add a payment method.",
        ),
        (
            429,
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-05-15 have "
            "exceeded token rate limit of your current AIServices S0 pricing tier. Please retry after 86400 "
            "seconds. Please go here: https://aka.ms/oai/quotaincrease",
        ),
        (403, "Rate Limit Exceeded rateLimitExceeded"),
        (400, "ThrottlingException: Too many tokens, please wait before trying again."),
        (503, "litellm.RateLimitError: too many requests"),
        (429, ""),
        (
            429,
            "No deployments available for selected model, Try again in 5 seconds. Passed model=x. "
            "pre-call-checks=False, cooldown_list=['3']",
        ),
        (429, "Throttling.RateQuota Requests rate limit exceeded, please try again later."),
        (429, "Throttling.AllocationQuota Allocated quota exceeded, please increase your quota limit."),
        (429, "Service tier capacity exceeded for this model. service_tier_capacity_exceeded 3505"),
        (403, "You are sending requests too quickly"),
        (403, "Too many concurrent requests"),
        (403, "userRateLimitExceeded"),
    ],
    "quota": [
        (429, "1308 已达到 5 小时的使用上限。您的限额将在 2026-01-22 17:57:30 重置。"),
        (429, "今日额度已用尽"),
        (429, "今日免费次数已用完"),
        (
            403,
            "You've reached your usage limit for this billing cycle. Your quota will be refreshed in the "
            "next cycle. To continue now, purchase extra usage or upgrade your plan",
        ),
        (
            429,
            "SetLimitExceeded Your account [210] has reached the set inference limit for the [doubao] model, "
            "and the model service has been paused.",
        ),
        (
            429,
            "Tokens per day limit exceeded - too many tokens processed. too_many_tokens_error quota "
            "token_quota_exceeded",
        ),
        (429, "Number of request tokens has exceeded your daily rate limit"),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month."),
        (
            429,
            "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 5631 seconds before retrying.",
        ),
        (
            429,
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
        ),
        (403, "Key limit exceeded (daily limit)"),
        (
            429,
            "You exceeded your current quota, please check your plan and billing details. For more "
            "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. "
            "RESOURCE_EXHAUSTED",
        ),
        (
            400,
            "You have reached your specified API usage limits. You will regain access on 2026-02-01 at 00:00 UTC.",
        ),
        (
            429,
            "You exceeded your current quota, please check your plan and billing details. For details, see: "
            "https://help.aliyun.com/zh/model-studio/error-code#token-limit insufficient_quota "
            "insufficient_quota",
        ),
        (429, "you've reached your hourly usage limit, please upgrade to continue"),
        (429, "You have reached the limit of 50 requests in the last 24 hours"),
        (429, "You've reached your 5-hour limit"),
        (429, "Limit reached, it resets tomorrow"),
        (403, "dailyLimitExceeded"),
        (403, "quotaExceeded"),
    ],
    "credit": [
        (429, "1113 您的账户已欠费，请充值后重试。"),
        (
            429,
            "error rate_limit_error 1113 [1113][Insufficient balance or no resource package. Please recharge.]",
        ),
        (403, "用户额度不足, 剩余额度: ＄-0.000002"),
        (403, "user quota is not enough one_api_error insufficient_user_quota"),
        (403, "user [3446] quota [-20847155]preConsumedQuota [743]is not enough"),
        (401, "该令牌额度已用尽"),
        (403, "Sorry, your account balance is insufficient"),
        (402, "Credit limit exceeded"),
        (
            429,
            "Your team x has either used all available credits or reached its monthly spending limit. To "
            "continue making API requests, please purchase more credits or raise your spending limit.",
        ),
        (
            403,
            "Your newly created team doesn't have any credits yet. You can purchase credits on https://console.x.ai",
        ),
        (400, "Insufficient Balance unknown_error"),
        (403, "AccountOverdueError The request failed because your account has an overdue balance."),
        (403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys"),
        (401, "You exceeded your current quota, please check your plan and billing details insufficient_quota"),
        (429, "You exceeded your current quota, please check your plan and billing details."),
        (
            429,
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to "
            "manage your project and billing. RESOURCE_EXHAUSTED",
        ),
        (
            429,
            "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, "
            "please check your plan and billing details",
        ),
        (429, "Your account is not active, please check your billing details on our website. billing_not_active"),
        (
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
            "upgrade or purchase credits.",
        ),
        (400, "Billing hard limit has been reached"),
        (400, "Arrearage Access denied, please make sure your account is in good standing."),
        (
            429,
            "Your account org-x <ak-y> is suspended due to insufficient balance, please recharge your "
            "account or check your plan and billing details exceeded_current_quota_error",
        ),
        (
            412,
            "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay "
            "past invoices.",
        ),
        (402, ""),
        (
            403,
            "AllocationQuota.FreeTierOnly The free tier of the model has been exhausted. If you wish to "
            'continue access the model on a paid basis, please disable the "use free tier only" mode in '
            "the management console.",
        ),
        (400, "Budget has been exceeded! Current cost: 0.1, Max budget: 0.05 budget_exceeded"),
        (429, "ExceededBudget: User=x over budget. Spend=10, Budget=5"),
        (403, "This API method requires billing to be enabled. Please enable billing on project #1"),
        (403, "Your account has a negative balance."),
        (429, "account balance is $0.0, please pay"),
        (403, "Your free trial has ended"),
        (403, "You are out of funds"),
        (403, "Solde insuffisant"),
        (403, "Saldo insuficiente"),
        (403, "Crédits insuffisants"),
        (403, "您的余额已不足"),
        (400, "账户余额为0"),
        (403, "余额不足，请充值"),
    ],
    "unavailable": [
        (503, "The model is overloaded. Please try again later. UNAVAILABLE"),
        (503, "This model is currently experiencing high demand. Spikes in demand are usually temporary."),
        (529, "Overloaded overloaded_error"),
        (503, "Loading model"),
        (500, ""),
        (408, ""),
        (524, "error code: 524"),
        (503, "no healthy upstream"),
        (502, "<html>Bad Gateway</html>"),
        (504, "The upstream took too long to respond"),
        (500, "The server had an error while processing your request. Sorry about that! server_error"),
        (500, "model requires more system memory (5.6 GiB) than is available (3.2 GiB)"),
    ],
    "context_length": [
        (400, "request (2478 tokens) exceeds the available context size (2048 tokens) exceed_context_size_error"),
        (400, "This model's maximum context length is 4097 tokens. However, you requested 4972 tokens"),
        (400, "This model's maximum context length is 4097 tokens. Upgrade with credits"),
        (400, "prompt is too long: 208656 tokens > 200000 maximum"),
        (400, "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."),
        (400, "Input is too long for requested model."),
        (400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
        (
            400,
            "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context length "
            "is 8192 tokens and your request has 7500 input tokens",
        ),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 21333 > 204798"),
        (
            400,
            "The number of tokens to keep from the initial prompt is greater than the context length "
            "(n_keep: 13055>= n_ctx: 4096). Try to load the model with a larger context length, or provide a "
            "shorter input.",
        ),
        (
            400,
            "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded "
            "with context length of only 32768 tokens",
        ),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"),
        (422, "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000"),
        (413, "<html>413 Request Entity Too Large</html>"),
        (
            413,
            "Request too large for model `m` in organization `o` service tier `on_demand` on tokens per "
            "minute (TPM): Limit 6000, Requested 14810, please reduce your message size and try again. "
            "rate_limit_exceeded",
        ),
        (
            429,
            "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, "
            "Requested 342389. The input or output tokens must be reduced in order to run successfully.",
        ),
        (500, "Context size has been exceeded."),
        (400, "1261 Prompt 超长"),
        (400, "Requested tokens (516) exceed context window of 512"),
        (400, "prompt token count of 9000 exceeds the limit of 8192 model_max_prompt_tokens_exceeded"),
        (413, "Request body too large for gpt-4o model. Max size: 8000 tokens."),
        (
            400,
            "generating 1000 tokens requires a sequence length of 10000, but the maximum supported sequence "
            "length is just 8192",
        ),
        (400, "Your input exceeds the context window of this model"),
    ],
    "refused_content": [
        (
            403,
            'openai/gpt-4o requires moderation on OpenRouter. Your input was flagged for "violence". No '
            "credits were charged.",
        ),
        (
            403,
            "{'code': 'The caller does not have permission to execute the specified operation', 'error': "
            "'Content violates usage guidelines. Team: X, API key ID: Y, Model: grok-4, Failed check: "
            "SAFETY_CHECK_TYPE_BIO'}",
        ),
        (400, "data_inspection_failed Input data may contain inappropriate content."),
        (400, "1301 系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语"),
        (400, "Content Exists Risk invalid_request_error"),
        (400, "Output blocked by content filtering policy"),
        (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
        (400, "The response was blocked due to safety filters"),
    ],
    "field": [
        (400, "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]"),
        (400, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        (
            400,
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas "
            "you provided 100000.",
        ),
        (400, "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude"),
        (
            400,
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value "
            "is supported.",
        ),
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
        ),
        (400, "temperature: range: 0..1"),
        (400, "`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (400, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "`temperature` is deprecated for this model."),
        (422, "error extra_forbidden body max_completion_tokens Extra inputs are not permitted"),
        (400, 'Invalid JSON payload received. Unknown name "store": Cannot find field. INVALID_ARGUMENT'),
        (400, "Unrecognized request argument supplied: repeat_penalty"),
        (400, "This model does not support the temperature parameter"),
        (400, "property 'repeat_penalty' is unsupported"),
        (400, "Budget 0 is invalid. This model only works in thinking mode."),
        (400, "registry.ollama.ai/library/x:latest does not support thinking"),
        (400, "1210 API 调用参数有误，请检查文档。"),
        (400, "Additional properties are not allowed ('repeat_penalty' was unexpected)"),
        (400, "Extra parameters ['x'] are not allowed when extra-parameters is not set"),
        (400, "Malformed input request: extraneous key [x] is not permitted"),
        (400, "property 'messages.1.reasoning' is unsupported"),
        (422, "body temperature ensure this value is less than or equal to 1"),
        (400, "invalid request: temperature must be between 0 and 1.0 inclusive."),
        (400, "json: cannot unmarshal number into Go struct field ChatCompletionRequest.max_tokens of type int"),
        (400, "the supported range is from 1 (inclusive) to 8193"),
    ],
    "key": [
        (401, "无效的令牌"),
        (403, "Your API key was reported as leaked. Please use another API key. PERMISSION_DENIED"),
        (403, "Permission denied: Consumer 'api_key:AIza123' has been suspended."),
        (400, "API key not valid. Please pass a valid API key. API_KEY_INVALID"),
        (400, "API key expired. Please renew the API key."),
        (400, "Incorrect API key provided: xa***B1. You can obtain an API key from https://console.x.ai."),
        (401, "Unauthorized"),
        (401, ""),
        (
            401,
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
            "valid key for an active subscription and use a correct regional API endpoint for your resource.",
        ),
        (403, "Invalid authentication credentials"),
        (403, "invalid token"),
        (
            403,
            "This authentication method does not have sufficient permissions to call Inference Providers on "
            "behalf of user x",
        ),
        (400, "Please provide a valid API key"),
        (403, "Token is expired"),
        (403, "无效的令牌"),
    ],
    "model": [
        (
            404,
            "ModelNotOpen Your account 21 has not activated the model deepseek-r1. Please activate the model "
            "service in the Ark Console.",
        ),
        (
            404,
            "InvalidEndpointOrModel.NotFound The model or endpoint x does not exist or you do not have access to it.",
        ),
        (403, "Project `proj_x` does not have access to model `gpt-4o` model_not_found"),
        (
            400,
            "The model `x` has been decommissioned and is no longer supported. Please refer to "
            "https://console.groq.com/docs/deprecations for a recommendation model_decommissioned",
        ),
        (400, "foo/bar is not a valid model ID"),
        (400, "Model Not Exist invalid_request_error"),
        (404, "No endpoints found for foo/bar."),
        (404, "DeploymentNotFound The API deployment for this resource does not exist."),
        (
            404,
            "Publisher Model `projects/p/locations/us-central1/publishers/google/models/g` was not found or "
            "your project does not have access to it.",
        ),
        (404, "This is not a chat model and thus not supported in the v1/chat/completions endpoint."),
        (401, "key not allowed to access model. This key can only access models=['a'] key_model_access_denied"),
        (400, "Invalid model name passed in model=foo. Call `/v1/models` to view available models for your key."),
        (403, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade"),
        (400, '"all-minilm" does not support chat'),
        (403, "该令牌无权访问模型 gpt-4"),
        (400, "1211 模型不存在，请检查模型代码。"),
        (400, "x is not a supported model"),
        (404, "Could not find model x"),
        (400, "模型未找到"),
        (400, "不支持的模型 x"),
        (410, "The model x has been shut down"),
    ],
    "access": [
        (403, "The caller does not have permission PERMISSION_DENIED"),
        (
            403,
            "unsupported_country_region_territory Country, region, or territory not supported request_forbidden",
        ),
        (400, "User location is not supported for the API use. FAILED_PRECONDITION"),
        (
            404,
            "Your organization must be verified to use the model `gpt-5`. Please go to: "
            "https://platform.openai.com/settings/organization/general and click on Verify Organization. "
            "invalid_request_error model_not_found",
        ),
        (400, "Your organization must be verified to stream this model. stream unsupported_value"),
        (403, "error code: 1010"),
        (403, "<title>Attention Required! | Cloudflare</title>"),
        (403, ""),
        (
            404,
            "No endpoints available matching your guardrail restrictions and data policy. Configure: "
            "https://openrouter.ai/settings/privacy",
        ),
        (
            400,
            "The model `x` requires terms acceptance. Please have the org admin accept the terms at "
            "https://console.groq.com/playground?model=x model_terms_required",
        ),
        (403, "This organization has been disabled."),
        (403, "Generative Language API has not been used in project 123 before or it is disabled."),
        (403, "AccessDenied Access denied due to Virtual Network/Firewall rules."),
        (403, "当前地区不支持"),
        (403, "Requests from referer <empty> are blocked. PERMISSION_DENIED"),
        (403, "Model x is not available in your region"),
        (
            400,
            "Gemini API free tier is not available in your country. Please enable billing on your project in "
            "Google AI Studio.",
        ),
        (403, "Access from your location is not permitted"),
        (403, "<html><h1>403 Forbidden</h1><center>nginx</center></html>"),
        (403, "Forbidden"),
        (400, "This service is not available in your region"),
    ],
    "other": [
        (404, "404 Resource not found"),
        (404, "Not Found"),
        (404, "Not Found"),
        (404, "404 page not found"),
        (404, "Invalid URL (POST /v1/v1/chat/completions) invalid_request_error"),
        (400, "Parse error: unbalanced parentheses, not enough closing ones"),
        (418, ""),
        (422, ""),
        (400, ""),
        (405, "Method Not Allowed"),
        (400, "We could not parse the JSON body of your request."),
        (400, "messages: at least one message is required"),
        (400, "Failed to parse: unbalanced brackets in messages"),
        (400, "Invalid request: message must not be empty"),
        (404, ""),
        (404, "<html>404 Not Found</html>"),
        (405, "Method Not Allowed"),
    ],
}


@pytest.mark.parametrize(
    "recorded",
    [each for each in RECORDED if each.status != 200],
    ids=lambda each: f"{each.provider}: {each.case}",
)
def test_each_recorded_error_has_its_type_and_cause(recorded):
    body = recorded.body if isinstance(recorded.body, str) else json.dumps(recorded.body)
    error = classify_status(recorded.status, body, CIMultiDict(recorded.headers), NOW)
    assert (error.type, error.cause) == (recorded.meaning, recorded.cause)
    assert error.status_code == recorded.status
    assert error.message


@pytest.mark.parametrize(
    ("cause", "status", "words"), [(cause, *each) for cause, known in WORDS.items() for each in known]
)
@pytest.mark.parametrize("shape", ["plain", "json", "quoted", "list"])
def test_the_cause_is_found_in_the_message_in_each_format_of_the_body(cause, status, words, shape):
    error = {"error": {"message": words, "code": status}}
    body = {
        "plain": words,
        "json": json.dumps(error),
        "quoted": json.dumps({"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(error)}}}),
        "list": json.dumps([error]),
    }[shape]
    assert classify_status(status, body, {}, NOW).cause == cause


@pytest.mark.parametrize(
    ("status", "body", "headers", "meaning"),
    [
        (503, OLLAMA, {}, "overload"),
        (503, "busy", {"retry-after": "120"}, "overload"),
        (529, "overloaded_error", {}, "overload"),
        (502, "", {}, "overload"),
        (504, "", {}, "overload"),
        (500, "", {}, "overload"),
        (408, "", {}, "overload"),
        (499, "", {}, "overload"),
        (429, RATE, {}, "overload"),
        (429, RATE, {"retry-after": "2"}, "overload"),
        (429, OLLAMA, {}, "overload"),
        (429, RATE, {"retry-after": "30"}, "quota"),
        (403, RATE, {"retry-after": "30"}, "quota"),
        (429, GEMINI, {}, "quota"),
        (429, OPENAI, {}, "quota"),
        (402, "", {}, "quota"),
        (400, "exceed_context_size_error", {}, "permanent"),
        (401, "Incorrect API key", {}, "permanent"),
        (403, "", {}, "permanent"),
        (404, "model not found", {}, "permanent"),
        (413, "", {}, "permanent"),
        (422, "", {}, "permanent"),
    ],
)
def test_each_status_and_body_has_its_error_type(status, body, headers, meaning):
    error = classify_status(status, body, headers, NOW)
    assert (error.type, error.status_code) == (meaning, status)
    assert error.message


def test_each_cause_has_its_error_type():
    for cause, known in WORDS.items():
        for status, words in known:
            kind = classify_status(status, words, {}, NOW).type
            if cause in NOT_ADMITTED:
                assert kind in ("quota", "overload")
            elif cause == "unavailable":
                assert kind == "overload"
            else:
                assert kind == "permanent"


def test_words_of_the_question_quoted_in_an_error_do_not_change_its_cause():
    question = "Why is my credit balance too low, and what is a rate limit of the API key?"
    detail = {"loc": ["body", "messages", 0], "msg": "Input should be a valid string", "input": question}
    assert classify_status(422, json.dumps({"detail": [detail]}), {}, NOW).cause == "other"
    assert classify_status(422, json.dumps({"detail": [detail | {"input": question * 500}]}), {}, NOW).cause == "other"
    failed = {"error": {"message": "Failed to generate JSON.", "failed_generation": question}}
    assert classify_status(400, json.dumps(failed), {}, NOW).cause == "other"


def test_only_temporary_errors_have_a_wait():
    assert classify_status(429, RATE, {"retry-after": "7"}, NOW).retry_after_seconds == 7
    assert classify_status(503, "", {"retry-after": "7"}, NOW).retry_after_seconds == 7
    assert classify_status(401, "", {"retry-after": "7"}, NOW).retry_after_seconds is None


@pytest.mark.parametrize(
    ("error", "status", "kind", "cause"),
    [
        ({"code": 429, "message": "Rate limited upstream"}, 429, "overload", "rate_limit"),
        ({"code": "402", "message": "pay"}, 402, "quota", "credit"),
        ({"code": 502, "message": "The upstream provider closed the connection"}, 502, "overload", "unavailable"),
        ({"code": "model_not_found", "message": "no"}, None, "permanent", "model"),
        ({"code": "insufficient_quota", "message": "You exceeded your current quota"}, None, "quota", "credit"),
        ({"message": "您的账户余额不足"}, None, "quota", "credit"),
        ({"message": "请求过于频繁，请在 45 秒后重试"}, None, "quota", "rate_limit"),
        ({"status_code": 1008, "status_msg": "insufficient balance"}, None, "quota", "credit"),
        ({"message": "something broke"}, None, "overload", "unavailable"),
        ({}, None, "overload", "unavailable"),
    ],
)
def test_an_error_in_a_success_is_classified_by_its_code_or_message(error, status, kind, cause):
    found = classify_error_body(error, NOW)
    assert (found.status_code, found.type, found.cause) == (status, kind, cause)


@pytest.mark.parametrize(
    ("finish_reason", "refusal", "kind", "cause"),
    [
        ("stop", None, "overload", "no_answer"),
        ("length", None, "overload", "no_answer"),
        ("stop", "I cannot help with that.", "permanent", "refused_content"),
        ("content_filter", None, "permanent", "refused_content"),
        ("PROHIBITED_CONTENT", None, "permanent", "refused_content"),
        ("sensitive", None, "permanent", "refused_content"),
    ],
)
def test_an_empty_answer_is_permanent_only_if_the_content_was_refused(finish_reason, refusal, kind, cause):
    error = classify_empty(finish_reason, refusal)
    assert (error.type, error.cause) == (kind, cause)


@pytest.mark.parametrize(
    ("why", "kind", "cause"),
    [
        ("timed out after 60 s", "overload", "unavailable"),
        ("Connection error: Cannot connect to host x", "overload", "unavailable"),
        ("unreadable answer: ValueError: timed out", "overload", "no_answer"),
        ("answer too large: more than 1 bytes", "overload", "no_answer"),
        ("redirected to https://x.example", "permanent", "other"),
    ],
)
def test_a_call_without_an_answer_is_classified_by_its_message(why, kind, cause):
    error = unusable_response(why)
    assert (error.type, error.cause, error.message) == (kind, cause, why)


def test_messages_are_short_and_on_one_line():
    error = classify_status(500, "a\nb " * 1000, {}, NOW)
    assert len(error.message) <= MAX_MESSAGE_CHARACTERS
    assert "\n" not in error.message


def test_escaped_characters_in_messages_are_decoded():
    assert classify_status(429, json.dumps({"error": "欠费 😀"}), {}, NOW).message == '{"error": "欠费 😀"}'
    assert classify_status(500, r'"\u0000\u000a\ud800"', {}, NOW).message == '"\ufffd \ufffd"'


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no credit for topsecret", "no credit for …"),
        ("topsecret-2 and topsecret", "… and …"),
        ("abc is short enough to stand in a word", "abc is short enough to stand in a word"),
        ("Authorization: Bearer eyJhbGci.x.y, was sent", "Authorization: …, was sent"),
        ("Incorrect API key provided: sk-VKMIs***wjh3. You", "Incorrect API key provided: …. You"),
        ("Incorrect API key provided: sk-proj-abc123...wxyz", "Incorrect API key provided: …"),
        ("Incorrect API key provided: xa***B1.", "Incorrect API key provided: …."),
        ("org-x <ak-f8tyo15zao8111>", "org-x <…>"),
        ("Consumer 'api_key:AIzaSyAJaC2_HRoQl' has", "Consumer 'api_key:…' has"),
        ('{"key": "gsk_0123456789"}', '{"key": "…"}'),
        ("ask-me-anything, risk-free and a task-force", "ask-me-anything, risk-free and a task-force"),
        ("model gpt-4o-mini at https://x.example/v1", "model gpt-4o-mini at https://x.example/v1"),
    ],
)
def test_keys_are_redacted_in_texts(text, clean):
    assert redacted(text, ["topsecret", "topsecret-2", "abc", ""]) == clean


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(300, 599), st.text() | json_values.map(json.dumps), st.dictionaries(st.text(), st.text()))
def test_any_status_body_and_headers_are_classified(status, body, headers):
    error = classify_status(status, body, headers, NOW)
    assert ProviderError.model_validate_json(error.model_dump_json()) == error
    assert redacted(body) is not None


@given(st.dictionaries(st.text(max_size=8), json_values))
def test_any_error_object_is_classified(error):
    found = classify_error_body(error, NOW)
    assert ProviderError.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, "\\" * 100_000, "1" * 100_000, '"a' * 50_000])
def test_hostile_bodies_are_classified_quickly(body):
    assert classify_status(400, body, {"retry-after": body, "x-ratelimit-limit": body}, NOW).type == "permanent"
