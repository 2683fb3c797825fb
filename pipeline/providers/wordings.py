"""Phrases in error messages of providers, in all languages that were found, by their meaning. Data.

`pipeline/providers/errors.py` defines the order of the checks.
"""

import re


def any_of(*phrases: str) -> re.Pattern[str]:
    """Compiles phrases in lower case to a pattern that matches any of them.

    A space matches the separator between words in sentences and in names (`rate limit` matches `rate_limit_exceeded`
    and `RateLimitReached`), ` … ` matches other words of the same sentence. The rest is a regular expression.
    """
    same_sentence = r"(?:[^.。\n]|\.(?=\S)){0,60}"
    return re.compile("|".join(each.replace(" … ", same_sentence).replace(" ", "[ _-]?") for each in phrases))


# --- not admitted ------------------------------------------------------------------------------------------------

CREDIT = any_of(
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
"""Used-up credit, whatever else the message contains: Zhipu also uses `rate_limit_error` for it."""
OPENAI_CREDIT = any_of("insufficient quota", "exceeded your current quota … (?:plan|billing)")
SAY_THE_SAME_OF_QUOTAS = any_of("google", "gemini", "vertex", "resource exhausted", "aliyun")
"""Gemini and Alibaba's DashScope use OpenAI's phrases for used-up credit when a rate limit or quota is reached."""
TOMORROW = re.compile("(?:今日|每日|当日|今天|每天|当天)[^,。\n]{0,8}额度")
"""The quota of a day, which resets without payment."""
MAYBE_CREDIT = any_of(
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
"""Used-up credit, unless the phrase is advice on how to get a higher rate limit."""

RATE = any_of(
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
MINUTE = any_of(
    "per (?:min|sec)", r"/ ?(?:min|sec|m\b|s\b)", r"\b[rt]p[ms]\b", r"\bqps\b", "by minute", "每分钟", "每秒"
)
DAY = any_of(
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
EXCEEDED = any_of("limit", "quota", "exceed", "reached", "exhaust", "used up", "allowance", "[限额]", "次数")
QUOTA = any_of("quota", "usage limit", "inference limit", "billing cycle", "使用上限", "限额", "配额")
EXHAUSTED = any_of("resource (?:has been )?exhausted")
NEVER_ADMITTED = any_of(
    r"request too large[^\n]{0,200}(?:tokens|\btpm\b)",
    "(?:input|output) tokens must be reduced",
    "reduce your message size",
)
"""A request with more tokens than the provider admits a minute: waiting does not help (Groq 413, OpenAI 429)."""


# --- the key and its permissions ---------------------------------------------------------------------------------

KEY_PHRASES = (
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
KEY = any_of(*KEY_PHRASES)
KEY_OR_RIGHTS = any_of(
    *KEY_PHRASES,
    "api key",
    "authori[sz]ation (?:failed|header)",
    r"\b(?:invalid|expired|bad|wrong|missing|no) … (?:token|key|credential|scope)",
    r"\b(?:token|key|credential)s? … (?:invalid|expired|not valid|revoked|leaked|disabled|incorrect|suspended)",
    "unregistered caller",
    "insufficient permissions",
    "令牌",
    "认证",
)
"""Phrases for a 403, which is more often about permissions than about the key."""

TERMINATED = any_of(
    r"\b(?:account|organi[sz]ation|project|team|user)\b … (?:suspended|disabled|terminated|banned|deactivated)",
    "access (?:was |has been )?terminated",
)
ADDRESS_PHRASES = (
    r"\bip\b … (?:not (?:allowed|authorized|whitelisted|permitted|in|match)|denied|blocked|banned|restrict)",
    "ip not authorized",
    "ip address blocked",
    "(?:allow|white) ?list",
    "白名单",
)
ADDRESS_BARRED = any_of(*ADDRESS_PHRASES)
PLACE = r"(?<![/\w])(?:countr(?:y|ies)|regions?|territor(?:y|ies)|locations?)(?![/\w])"
ACCESS = any_of(
    *ADDRESS_PHRASES,
    "unsupported country",
    "geo (?:block|restrict)",
    rf"{PLACE} … (?:\bnot\b|unsupported|restricted|blocked|unavailable|denied)",
    rf"(?:\bnot\b|unsupported|unavailable) … {PLACE}",
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
"""A blocked place, client (Cloudflare's codes) or address, and steps that an account has to do first."""

MODEL_BARRED = any_of("access (?:to )?(?:the |this )?model", "model access")
MODEL = any_of(
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
MODEL_SENTENCE = any_of(
    r"\bmodel[^\n]{0,120}(?:not found|not exist|not a valid|unknown|is invalid|not activated)",
    r"\bmodel[^\n]{0,120}no longer (?:available|supported)",
    r"\bmodel[^\n]{0,120}(?:has been|is|was) (?:deprecated|retired|removed|disabled|discontinued|sunset|shut)",
    r"\bmodel[^\n]{0,120}not (?:available|supported)\b(?! (?:with|for|on|by|in) this)",
    r"models?/\S+ is not",
    "not activated the model",
    "requested entity was not found",
)


# --- the request -------------------------------------------------------------------------------------------------

CONTENT = any_of(
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
CONTEXT = any_of(
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
FIELD = any_of(
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
FIELD_NAME = re.compile(
    r"(?<![\w-])(?:temperature|top_[pkn]|max_(?:completion_|output_|new_)?tokens|(?:repeat|repetition|frequency|presence)"
    r"_penalty|reasoning_effort|enable_thinking|chat_template_kwargs|response_format|logprobs|logit_bias)(?!\w)"
)
