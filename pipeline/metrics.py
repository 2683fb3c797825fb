"""All metrics of the services, with units in their names (Prometheus conventions)."""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

MESSAGES = Counter(
    "pipeline_messages_total", "Messages read, by topic and outcome (handled, rejected, retried).", ["topic", "outcome"]
)
HANDLING = Histogram("pipeline_handling_seconds", "Time in the handler of one message.", ["topic"])
IN_FLIGHT = Gauge("pipeline_in_flight_messages", "Messages started and not finished, including those that wait.")
LLM_CALLS = Counter(
    "llm_calls_total",
    "Calls to the model, by outcome (answer, overload, quota, permanent; spared: the outcome was cached).",
    ["outcome"],
)
LLM_SECONDS = Histogram(
    "llm_call_seconds", "Duration of calls to the model.", buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
)
LLM_TOKENS = Counter("llm_tokens_total", "Tokens of calls to the model, by kind (prompt, completion).", ["kind"])
LLM_COST = Counter("llm_cost_total", "Cost of calls to the model, in the currency of LLM_PRICES.", ["model"])
LLM_BUDGET_USED = Gauge("llm_budget_used_ratio", "Used share of the day's budget, by kind.", ["kind"])
LLM_BUDGET_PAUSED = Gauge("llm_budget_paused", "1 while calls wait because the day's budget is used up, otherwise 0.")
JUDGE_CALLS = Counter(
    "judge_calls_total",
    "Calls to the judge, by outcome (judgement, refused, overload, quota, permanent; spared: it was cached).",
    ["outcome"],
)
JUDGE_SECONDS = Histogram(
    "judge_call_seconds", "Duration of calls to the judge.", buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
)
JUDGE_TOKENS = Counter("judge_tokens_total", "Tokens of calls to the judge, by kind (prompt, completion).", ["kind"])
JUDGE_COST = Counter("judge_cost_total", "Cost of calls to the judge, in the currency of LLM_PRICES.", ["model"])
ANSWERS = Counter(
    "storage_answers_total", "Replies to questions, by source (cache, database, pending, failed).", ["source"]
)
REPUBLISHED = Counter("storage_republished_total", "Questions published again because no acknowledgement was recorded.")
HTTP_SECONDS = Histogram("http_request_seconds", "Duration of HTTP requests.", ["endpoint", "status"])
SCORED_PAIRS = Counter("score_pairs_total", "Pairs scored.")
UNSCORABLE_PAIRS = Counter(
    "score_unscorable_pairs_total",
    "Pairs without a score, by reason (unknown_tokens, other_language). They are also in score_pairs_total.",
    ["reason"],
)
SCORE_WARNINGS = Counter("score_warnings_total", "Warnings of pairs, by kind.", ["warning"])
SCORE_SECONDS = Histogram(
    "score_pair_seconds", "Time in the encoder for one pair: the time of its batch divided by the number of pairs."
)
SCORE_BATCH = Histogram("score_batch_pairs", "Pairs scored in one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
SCORE_WAITING = Gauge("score_waiting_pairs", "Pairs accepted and not yet scored.")


def serve(port: int) -> None:
    """Serves the metrics of this process at `/metrics` on `port`, in a thread."""
    start_http_server(port)
