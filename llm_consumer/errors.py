"""What a provider's error means: which topic it goes to, and who is at fault. Pure.

`type` says what becomes of the question, `cause` why the call failed (`pipeline/messages.py`). There are hundreds of
providers and gateways, and what they mean stands in their words more than in the status: spent credit comes as 400,
401, 402, 403 and 429. `tests/unit/llm_consumer/provider_responses.py` holds what they say, with sources.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from llm_consumer.hints import MAX_READ_CHARACTERS, unescaped, wait_seconds
from llm_consumer.text import storable
from pipeline.messages import NOT_ADMITTED, CallError, Cause, ErrorType

LONG_RETRY_AFTER_SECONDS = 30
"""A provider that asks for a wait of at least this means a quota, not a busy moment."""

MAX_MESSAGE_CHARACTERS = 500
MIN_KEY_CHARACTERS = 4
"""Of a key that is taken out of texts; a shorter one is a placeholder, and stands in many words."""

_TEMPORARY = {408, 425, 498, 499}
"""Beside 5xx: a time-out, too early, Groq's "Flex Tier capacity exceeded", and a call that a proxy gave up."""
_OVERLOADED = 529

_REFUSED = {
    "blocklist",
    "content_filter",
    "image_safety",
    "prohibited_content",
    "recitation",
    "refusal",
    "safety",
    "sensitive",
    "spii",
}
"""Reasons to finish: OpenAI's, Gemini's own, which its OpenAI-compatible API lets through, Anthropic's and Zhipu's."""

_OURS = {"input", "prompt", "messages", "failed_generation"}
"""Fields of an error that quote the request, or what the model wrote: a question may speak of credit, too."""

_SECRET = re.compile(
    r"\bBearer\s+[^\s\"',}]+"
    r"|\b(?:sk|ak|pk|rk|gsk|csk|xai|hf|r8|nvapi|pplx|fw|tgp)[-_][\w*…-]{4,}(?:\.{2,}[\w*]+)?"
    r"|\bAIza[\w*-]{8,}"
    r"|(?<![\w-])[\w-]{0,60}\*{3,}[\w-]*",
    re.IGNORECASE,
)
"""Keys as providers give them out, and as they show them: with asterisks, or dots, in the middle."""


def _any_of(*phrases: str) -> re.Pattern[str]:
    """Compiles phrases in small letters: one is enough.

    A space stands for what is between words in sentences and in names (`rate limit` is in `rate_limit_exceeded` and in
    `RateLimitReached`), ` … ` for other words of the same sentence. The rest is a regular expression.
    """
    same_sentence = r"(?:[^.。\n]|\.(?=\S)){0,60}"
    return re.compile("|".join(each.replace(" … ", same_sentence).replace(" ", "[ _-]?") for each in phrases))


# --- not admitted ------------------------------------------------------------------------------------------------

_CREDIT = _any_of(
    "insufficient (?:account |user )?(?:balance|credit|funds)",
    "insufficient (?:account|token|user) quota",
    "quota … is not enough",
    r"(?<![a-z])balance … (?:too low|insufficient|not enough|exhausted|depleted|negative|overdue|zero|\$?0(?:\.0+)?\b)",
    "(?:negative|zero) balance",
    r"\bnot enough (?:balance|credit|funds|money)",
    r"\b(?:out of|no more|no remaining|any|without|requires? more) (?:credits?|funds)\b",
    r"\bno credits?\b(?! (?:were|was|have|has|will|are|is)\b)",
    "used (?:up )?all (?:of )?(?:your |the )?(?:available |free |included |remaining )*credits?",
    "exceeded your (?:current |monthly |included |available |free )*credits?",
    "credits? (?:balance )?(?:is|are|has|have|was|were) (?:been )?(?:depleted|exhausted|used up|insufficient|expired)",
    "credits? (?:exhausted|depleted|limit exceeded|limit reached)",
    "spend(?:ing)? (?:limit|cap)",
    "(?:over|exceeded) (?:\\w+ )?budget",
    "budget (?:has been )?exceeded",
    "trial (?:has |period has )?(?:ended|expired)",
    "billing (?:hard )?limit",
    "billing (?:is |has )?(?:not active|not been enabled|not enabled|disabled|to be enabled)",
    "check your billing",
    "payment (?:is )?(?:required|failed)",
    "account overdue",
    "overdue (?:balance|payment)",
    r"\bpast due\b",
    r"\bunpaid\b",
    "outstanding (?:invoice|balance)",
    "past invoices",
    "arrear",
    "account is in good standing",
    "exceeded current quota error",
    r"key limit exceeded\b(?! \((?:daily|weekly|monthly))",
    "subscription (?:is |has )?(?:inactive|expired)",
    "resource pack(?:age)? … exhaust",
    "free tier only",
    "free tier of the model has been exhausted",
    "free (?:allocated )?quota … (?:exhaust|used up|exceed)",
    "余额已?(?:不足|不够|用完|用尽|耗尽)",
    "余额为 ?[0零负-]",
    "欠费",
    "(?:额度|配额)(?:已|被)*(?:用尽|用完|不足|耗尽|用光)",
    r"资源包[^。\n]{0,8}(?:用尽|耗尽|不足)",
    "预扣费",
    "insuffisant|insuficiente",
    "недостаточно средств",
    "残高",
    "잔액",
)
"""Spent credit, unmistakably, whatever stands beside it: Zhipu says `rate_limit_error` of it, too."""
_OPENAI_CREDIT = _any_of("insufficient quota", "exceeded your current quota … (?:plan|billing)")
_SAY_THE_SAME_OF_QUOTAS = _any_of("google", "gemini", "vertex", "resource exhausted", "aliyun")
"""Gemini, and Alibaba's DashScope, say of a rate or a quota what OpenAI says of spent credit."""
_TOMORROW = re.compile("(?:今日|每日|当日|今天|每天|当天)[^,。\n]{0,8}额度")
"""The quota of today: it comes back without being paid for."""
_MAYBE_CREDIT = _any_of(
    "exceeded your current quota",
    "(?:purchase|buy|add) (?:more )?(?:credit|funds)",
    r"\btop up\b",
    "recharge",
    r"\bprepa(?:y|id)",
    "(?:enter|add) (?:a )?payment method",
    "account balance",
    "充值",
    "余额",
)
"""Spent credit, unless it is advice of how to get a higher rate."""

_RATE = _any_of(
    "(?<![a-z])rate limit",
    "ratelimit(?:exceeded|reached|error)",
    "too many requests",
    "throttl",
    "(?:request|token)s? per (?:min|sec)",
    r"\b[rt]p[ms]\b",
    r"\bqps\b",
    "concurren",
    "no deployments available",
    "slow down",
    "too (?:quickly|fast|frequent)",
    "requests? limit (?:exceeded|reached)",
    "wait before trying again",
    "过于频繁",
    "(?:请求|访问|调用)频率",
    "频率[过限超]",
    "速率",
    "限流",
    "限速",
    "并发",
    "访问量过大",
    "请求[过太]多",
)
_MINUTE = _any_of(
    "per (?:min|sec)", r"/ ?(?:min|sec|m\b|s\b)", r"\b[rt]p[ms]\b", r"\bqps\b", "by minute", "每分钟", "每秒"
)
_DAY = _any_of(
    "per (?:day|week|month|86400)",
    r"/ ?(?:day|week|month|d\b)",
    r"\b[rt]pd\b",
    r"by day\b",
    r"\b(?:daily|weekly|monthly)\b",
    "daily limit",
    r"\b24 ?h",
    r"\d hours? (?:usage )?limit",
    r"\b(?:tomorrow|midnight)\b",
    "[每今当](?:日|天|周|月)",
)
_EXCEEDED = _any_of("limit", "quota", "exceed", "reached", "exhaust", "used up", "allowance", "[限额]", "次数")
_QUOTA = _any_of("quota", "usage limit", "inference limit", "billing cycle", "使用上限", "限额", "配额")
_EXHAUSTED = _any_of("resource (?:has been )?exhausted")
_NEVER_ADMITTED = _any_of(
    r"request too large[^\n]{0,200}(?:tokens|\btpm\b)",
    "(?:input|output) tokens must be reduced",
    "reduce your message size",
)
"""A request of more tokens than the provider admits a minute: to wait does not help (Groq 413, OpenAI 429)."""


# --- the key, and what it may do ---------------------------------------------------------------------------------

_KEY_PHRASES = (
    "api key … (?:not valid|invalid|incorrect|expired|not found|missing|required|wrong|revoked|leaked)",
    r"\b(?:invalid|incorrect|expired|missing|wrong|bad|no|valid) (?:\w+ )?api key",
    "provide (?:an|your) api key",
    r"\bunauthori[sz]ed\b",
    "unauthenticated",
    "authenticat",
    "密钥",
    "鉴权",
    "身份验证",
)
_KEY = _any_of(*_KEY_PHRASES)
_KEY_OR_RIGHTS = _any_of(
    *_KEY_PHRASES,
    "api key",
    "authori[sz]ation (?:failed|header)",
    r"\b(?:invalid|expired|bad|wrong|missing|no) … (?:token|key|credential|scope)",
    r"\b(?:token|key|credential)s? … (?:invalid|expired|not valid|revoked|leaked|disabled|incorrect|suspended)",
    "unregistered caller",
    "insufficient permissions",
    "令牌",
    "认证",
)
"""Of a 403, which is more often about rights than about the key."""

_TERMINATED = _any_of(
    r"\b(?:account|organi[sz]ation|project|team|user)\b … (?:suspended|disabled|terminated|banned|deactivated)",
    "access (?:was |has been )?terminated",
)
_ADDRESS_PHRASES = (
    r"\bip\b … (?:not (?:allowed|authorized|whitelisted|permitted|in|match)|denied|blocked|banned|restrict)",
    "ip not authorized",
    "ip address blocked",
    "(?:allow|white) ?list",
    "白名单",
)
_ADDRESS_BARRED = _any_of(*_ADDRESS_PHRASES)
_PLACE = r"(?<![/\w])(?:countr(?:y|ies)|regions?|territor(?:y|ies)|locations?)(?![/\w])"
_ACCESS = _any_of(
    *_ADDRESS_PHRASES,
    "unsupported country",
    "geo (?:block|restrict)",
    rf"{_PLACE} … (?:\bnot\b|unsupported|restricted|blocked|unavailable|denied)",
    rf"(?:\bnot\b|unsupported|unavailable) … {_PLACE}",
    "(?:地区|区域|国家)[^。\n]{0,20}[不限]",
    r"error code: 10(?:0[5-9]|1[0-2]|20)\b",
    "attention required",
    "have been blocked",
    "banned your access",
    "just a moment",
    "must be verified",
    "verify (?:your )?(?:organi[sz]ation|identity|account)",
    "(?:organi[sz]ation|identity) verification",
    "实名",
    "terms (?:of service|acceptance|and conditions|required)",
    "accept the … terms",
    "license agreement",
    "has not been used in project",
    "service disabled",
    "request not allowed",
    "data policy",
    "guardrail",
    "firewall",
    "virtual network",
)
"""A place, a client (Cloudflare's codes) or an address that is barred, and what an account has to do first."""

_MODEL_BARRED = _any_of("access (?:to )?(?:the |this )?model", "model access")
_MODEL = _any_of(
    "model (?:not found|not exist|not open|decommissioned|not available|access denied)",
    r"model\.access denied",
    "invalid endpoint or model",
    r"\b(?:not a valid|not a supported|no such|unknown|invalid|unsupported|nonexistent) (?:\w+ )?model\b",
    "(?:find|locate) (?:the )?model",
    "invalid value for '?model",
    "model identifier is invalid",
    "decommissioned",
    "not a chat model",
    "does not support (?:chat|generat|complet)",
    "deployment … not (?:exist|found)",
    "access (?:to )?(?:the |this )?model",
    "no models? (?:is |are )?loaded",
    "no endpoints found",
    "non serverless model",
    "this model requires",
    "model disabled",
    "(?:不支持|未找到|找不到)[^。\n]{0,6}模型",
    "模型[^。\n]{0,60}(?:不存在|未找到|不支持|未开通|下线|无权|没有权限|不可用)",
    "(?:无权|没有权限)[^。\n]{0,10}模型",
)
_MODEL_SENTENCE = _any_of(
    r"\bmodel[^\n]{0,120}(?:not found|not exist|not a valid|unknown|is invalid|not activated)",
    r"\bmodel[^\n]{0,120}no longer (?:available|supported)",
    r"\bmodel[^\n]{0,120}(?:has been|is|was) (?:deprecated|retired|removed|disabled|discontinued|sunset|shut)",
    r"\bmodel[^\n]{0,120}not (?:available|supported)\b(?! (?:with|for|on|by|in) this)",
    r"models?/\S+ is not",
    "not activated the model",
    "requested entity was not found",
)


# --- the request -------------------------------------------------------------------------------------------------

_CONTENT = _any_of(
    "content (?:filter|policy|management|moderation|violat|exists risk|refused)",
    "responsible ai",
    "data inspection",
    "inappropriate content",
    r"\bflagged\b",
    "safety (?:system|check|filter|reason|setting)",
    "sensitive (?:content|word|information|text|detect)",
    "prohibited content",
    "moderation",
    "violat … (?:polic|guideline)",
    "considered high risk",
    "risk control",
    "blocked (?:by|due to|because of) … (?:safety|filter|policy)",
    "jailbreak",
    "(?:unsafe|harmful) content",
    "敏感",
    "违规",
    "违反",
    "不当内容",
    "不安全",
    "审核",
)
_CONTEXT = _any_of(
    "context (?:length|size|window)",
    "exceed … context",
    "maximum context",
    "max(?:imum)? (?:supported |allowed )?(?:model len|(?:sequence|input|prompt|model) (?:length|token))",
    r"\bprompt … exceed",
    "(?:request|payload) body (?:is )?too large",
    r"\b(?:prompt|input|request|message|conversation|query|text)s? (?:is |are |was |were )?too (?:long|large)",
    r"\bstring too long",
    "input (?:token|length) … (?:exceed|longer|over)",
    "(?:token count|number of (?:input )?tokens|tokens in (?:the|your) (?:prompt|message)) … (?:exceed|greater|limit)",
    "too many (?:input |prompt )?tokens(?!, please wait)",
    "reduce (?:the length|your (?:prompt|message|input))",
    r"\bshorter (?:input|prompt)",
    "range of input length",
    "string above max length",
    r"inputs?`? (?:tokens \+|must have less)",
    "超长",
    r"(?:输入|文本|内容|消息|提示)[^。\n]{0,8}过长",
    r"上下文[^。\n]{0,12}[长超限]",
    "输入长度",
    "长度(?:超|不能)",
)
_FIELD = _any_of(
    r"\b(?:unsupported|unknown|unrecognized|unexpected) (?:request )?(?:parameter|value|name|argument|field|propert)",
    r"\binvalid (?:parameter|value|type|temperature|top p)",
    "extra (?:inputs?|fields?|param|forbidden)",
    "extraneous key",
    "additional properties",
    "propert … unsupported",
    "cannot (?:both )?be (?:both )?(?:specified|used|set|combined)",
    "mutually exclusive",
    "(?:role|instruction|message|prompt)s? (?:is |are )?not (?:enabled|supported|allowed)",
    "roles must alternate",
    "only the default",
    "does not support",
    "is deprecated for this model",
    "not supported (?:with|for|on|by|in) this",
    r"\brange\b",
    r"\b(?:must|should) be (?:between|in|less|greater|at (?:least|most)|one of|set|positive|non negative|equal|[<>≤≥])",
    r"at most \d+ completion tokens",
    "thinking mode",
    "参数",
)
_FIELD_NAME = re.compile(
    r"(?<![\w-])(?:temperature|top_[pkn]|max_(?:completion_|output_|new_)?tokens|(?:repeat|repetition|frequency|presence)"
    r"_penalty|reasoning_effort|enable_thinking|chat_template_kwargs|response_format|logprobs|logit_bias)(?!\w)"
)

_UNAVAILABLE = re.compile(r"timed out|connection error", re.IGNORECASE)


# --- rules -------------------------------------------------------------------------------------------------------


def _is_credit(text: str) -> bool:
    if _CREDIT.search(text):
        return not _TOMORROW.search(text)
    return bool(_OPENAI_CREDIT.search(text)) and not _SAY_THE_SAME_OF_QUOTAS.search(text)


def _may_be_credit(text: str) -> bool:
    if _is_rate(text) or _SAY_THE_SAME_OF_QUOTAS.search(text):
        return False
    return bool(_MAYBE_CREDIT.search(text))


def _is_quota(text: str) -> bool:
    """Says whether a quota is meant: by the first period that the words name; what follows may be advice."""
    if _EXHAUSTED.search(text) or _TOMORROW.search(text):
        return True
    day, minute = _DAY.search(text), _MINUTE.search(text)
    if day and _EXCEEDED.search(text):
        return not minute or day.start() < minute.start()
    return not minute and not _is_rate(text) and bool(_QUOTA.search(text))


def _is_rate(text: str) -> bool:
    return bool(_RATE.search(text))


_Rule = tuple[Cause, Callable[[str], object]]
_RULES: Mapping[int, Sequence[_Rule]] = {
    401: (("credit", _is_credit), ("access", _ADDRESS_BARRED.search), ("model", _MODEL_BARRED.search)),
    403: (
        ("credit", _is_credit),
        ("quota", _is_quota),
        ("rate_limit", _is_rate),
        ("access", _TERMINATED.search),
        ("refused_content", _CONTENT.search),
        ("access", _ACCESS.search),
        ("credit", _may_be_credit),
        ("model", _MODEL.search),
        ("model", _MODEL_SENTENCE.search),
        ("key", _KEY_OR_RIGHTS.search),
    ),
    404: (("access", _ACCESS.search), ("model", _MODEL.search), ("model", _MODEL_SENTENCE.search)),
    429: (
        ("context_length", _NEVER_ADMITTED.search),
        ("credit", _is_credit),
        ("quota", _is_quota),
        ("credit", _may_be_credit),
    ),
}
"""By status: what to look for, in which order."""
_RULES_OF_REQUESTS: Sequence[_Rule] = (
    ("key", _KEY.search),
    ("context_length", _NEVER_ADMITTED.search),
    ("context_length", _CONTEXT.search),
    ("credit", _is_credit),
    ("rate_limit", _is_rate),
    ("refused_content", _CONTENT.search),
    ("access", _TERMINATED.search),
    ("access", _ACCESS.search),
    ("model", _MODEL.search),
    ("field", _FIELD.search),
    ("model", _MODEL_SENTENCE.search),
    ("quota", _is_quota),
)
"""Of 400, 413, 422 and other statuses that find fault with the request."""
_RULES_OF_LAST_RESORT: Sequence[_Rule] = (("credit", _may_be_credit), ("field", _FIELD_NAME.search))
_RULES_OF_SERVERS: Sequence[_Rule] = (
    ("credit", _is_credit),
    ("context_length", _CONTEXT.search),
    ("rate_limit", _is_rate),
    ("quota", _EXHAUSTED.search),
)
"""Of 5xx, with which some gateways pass on what another provider refused."""
_OTHERWISE: Mapping[int, Cause] = {
    401: "key",
    403: "access",
    413: "context_length",
    429: "rate_limit",
    451: "access",
}
"""What a status means whose words say nothing."""


def sort_status(status: int, body: str, headers: Mapping[str, str], now: datetime) -> CallError:
    """Sorts an HTTP answer that is not a success.

    Args:
        status: HTTP status.
        body: Its text.
        headers: With lower-case names, or with names in which case does not count.
        now: Time of the answer, against which dates are read.
    """
    wait = wait_seconds(headers, body, now)
    message = _short(body) or f"HTTP {status} without a message"
    return _error(_cause(status, _said(body)), status, message, wait)


def sort_error_body(error: Mapping[str, Any], now: datetime) -> CallError:
    """Sorts an error that came in the body of a success, as some gateways send it.

    Args:
        error: The `error` object; its `code` counts as the HTTP status if it is one.
        now: See `sort_status`.
    """
    code = str(error.get("code"))
    try:
        body = json.dumps(error, default=str, ensure_ascii=False)
    except RecursionError:
        body = "an error that is nested too deeply"
    if re.fullmatch(r"[45]\d\d", code):
        return sort_status(int(code), body, {}, now)
    cause = _first(_RULES_OF_REQUESTS, _said(body), "unavailable")
    return _error(cause, None, _short(body), wait_seconds({}, body, now))


def sort_empty(finish_reason: str, refusal: str | None) -> CallError:
    """Sorts a success without a text: what is refused will be refused again, anything else may have been bad luck.

    Args:
        finish_reason: Of the answer.
        refusal: What the model says in place of an answer.
    """
    if refusal:
        return _error("refused_content", None, _short(f"content refused by the model: {refusal}"))
    if finish_reason.lower() in _REFUSED:
        return _error("refused_content", None, "content refused by the provider's filter")
    if finish_reason == "length":
        return no_answer("empty answer: all of LLM_MAX_TOKENS went before its first word")
    return no_answer("empty answer")


def no_answer(why: str) -> CallError:
    """Sorts a call without a usable HTTP answer: refused, timed out, broken off, not readable, empty."""
    if why.startswith("redirected to"):
        return _error("other", None, _short(why))
    return _error("unavailable" if _UNAVAILABLE.match(why) else "no_answer", None, _short(why))


def redacted(text: str, keys: Iterable[str] = ()) -> str:
    """Takes keys out of a text: a provider may repeat what it was sent.

    Args:
        text: What it said.
        keys: Those that it may have been sent; others are known by their shape.
    """
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= MIN_KEY_CHARACTERS:
            text = text.replace(key, "…")
    return _SECRET.sub("…", text)


def _error(cause: Cause, status: int | None, message: str, wait: float | None = None) -> CallError:
    kind = _type(cause, wait)
    return CallError(
        type=kind,
        cause=cause,
        status_code=status,
        message=message,
        retry_after_seconds=None if kind == "permanent" else wait,
    )


def _type(cause: Cause, wait: float | None) -> ErrorType:
    if cause in ("unavailable", "no_answer"):
        return "overload"
    if cause == "rate_limit":
        return "quota" if (wait or 0) >= LONG_RETRY_AFTER_SECONDS else "overload"
    return "quota" if cause in NOT_ADMITTED else "permanent"


def _cause(status: int, text: str) -> Cause:
    if status == 402:
        return "credit"
    if status == _OVERLOADED:
        return "unavailable"
    if status >= 500 or status in _TEMPORARY:
        return _first(_RULES_OF_SERVERS, text, "unavailable")
    rules = _RULES.get(status, (*_RULES_OF_REQUESTS, *_RULES_OF_LAST_RESORT))
    return _first(rules, text, _OTHERWISE.get(status, "other"))


def _first(rules: Sequence[_Rule], text: str, otherwise: Cause) -> Cause:
    return next((cause for cause, says in rules if says(text)), otherwise)


def _said(body: str) -> str:
    """Returns the words of a body in small letters, a line each, without what it quotes and without paths of links."""
    text = "\n".join(_texts(body))[:MAX_READ_CHARACTERS].lower()
    return re.sub(r"(https?://[^/\s\"']{1,200})[^\s\"')]*", r"\1", text)


def _texts(body: str) -> Iterator[str]:
    """Yields the texts of a body that is JSON, those of JSON in them, too; another body as it is."""
    waiting: list[object] = [body]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [value for name, value in reversed(each.items()) if name not in _OURS]
        elif isinstance(each, list):
            waiting += reversed(each)
        elif isinstance(each, str):
            inner = _parsed(each)
            if inner is None:
                yield unescaped(each[:MAX_READ_CHARACTERS])
            else:
                waiting.append(inner)


def _parsed(text: str) -> object:
    """Returns an object or a list; None if the text is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


def _short(text: str) -> str:
    """Returns a text on one line, short, storable, and with characters in place of their codes."""
    decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text[: 2 * MAX_READ_CHARACTERS])
    paired = decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return storable(" ".join(paired.split()))[:MAX_MESSAGE_CHARACTERS]
