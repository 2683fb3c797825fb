"""judge-service: asks a model whether an answer is right."""

from datetime import UTC, datetime

import structlog
from flask_openapi3 import OpenAPI

from judge_service.adapters import Adapter
from judge_service.adapters.chat import Chat
from judge_service.adapters.decisions import Decisions
from judge_service.adapters.systemone import SystemOne
from judge_service.app import OFF, create_app
from judge_service.cache import JudgementCache
from judge_service.calls import Caller
from judge_service.judge import Judge
from judge_service.notes import Notes
from judge_service.settings import JudgeSettings
from pipeline import command, server
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.providers.adaptations import SharedAdaptations
from pipeline.providers.admission import Admission, Identity
from pipeline.providers.charges import Budget
from pipeline.providers.day_budget import DayBudget, Limits, NoBudget, Spending
from pipeline.providers.provider import Provider
from pipeline.share import Share

SERVICE = "judge-service"

PORT = 8000
"""Port of the API, inside the fleet's network."""
SPARE_THREADS = 16
"""Threads for requests that wait for a slot, and for `/health`, `/ready` and `/metrics`."""

log = structlog.get_logger()


def main() -> None:
    """Serves until SIGTERM."""
    settings = command.start(SERVICE, JudgeSettings, _check)
    server.serve(lambda: application(settings), PORT, settings.llm_concurrency + SPARE_THREADS, graceful_timeout=10)


def application(settings: JudgeSettings) -> OpenAPI:
    """Composes the service; called after the fork."""
    notes = Notes()
    redis = BestEffortRedis(settings, SERVICE)
    judge = make_judge(settings, redis, notes) if settings.judge_model else None
    if judge is None:
        log.info(OFF)
    elif settings.judges_itself:
        log.warning("the judge is the answering model", model=settings.judge_model, base_url=settings.judge_base_url)
        notes.set("model", f"the judge is the answering model, {settings.judge_model}: it may not see its own errors")
    return create_app(judge, notes, redis.ping)


def make_judge(settings: JudgeSettings, redis: BestEffortRedis, notes: Notes) -> Judge:
    """Makes the judge of the settings."""
    target = settings.target
    share = Share()
    share.set([0], 1)  # there is one judge-service: while Redis is unavailable, it uses the whole limits
    bounds = settings.bounds(target.base_url, settings.judge_timeout)
    admission = Admission(redis, Identity.of(target), bounds, share)
    caller = Caller(target, adapter_of(settings), settings.judge_timeout, SharedAdaptations(redis))
    provider = Provider(target, caller.call, admission, settings.judge_max_tokens)
    return Judge(caller, provider, JudgementCache(redis), _budget(settings, redis, notes), notes)


def adapter_of(settings: JudgeSettings) -> Adapter:
    """Returns the adapter of the judge's interface."""
    match settings.judge_api:
        case "decisions":
            return Decisions(settings.judge_model)
        case "systemone":
            return SystemOne(settings.judge_model)
    return Chat(settings.judge_model, settings.judge_max_tokens)


def _budget(settings: JudgeSettings, redis: BestEffortRedis, notes: Notes) -> Budget:
    limits = Limits.of(settings.llm_budget_tokens, settings.llm_budget_cost)
    if not limits:
        return NoBudget()
    # llm-consumers have counted what the day's answers cost; their counts are in Redis.
    spent = Spending(datetime.now(UTC).date())
    return DayBudget(redis, limits, spent, note=lambda text: notes.set("budget", text))


def _check(settings: JudgeSettings) -> str:
    return f"port {PORT}, {settings.judge_model or 'no judge'}"


if __name__ == "__main__":
    main()
