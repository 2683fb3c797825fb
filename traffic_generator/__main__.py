"""The container: asks some questions once storage-service is ready, then idles, so that `docker exec` can ask more."""

import sys
import threading
from dataclasses import replace

import click
import structlog
import tenacity

from pipeline import logs
from pipeline.api_client import ApiClient, RequestFailed
from pipeline.health import Heartbeat
from pipeline.settings import load
from pipeline.shutdown import stop_on_signal
from traffic_generator import dataset, generate_traffic, plan, runner
from traffic_generator.dataset import DatasetError, QuestionSet
from traffic_generator.report import Tally
from traffic_generator.settings import TrafficSettings

# The same questions at each start: after a restart they are in the cache and cost nothing.
INITIAL_SEED = 1
READY_INTERVAL_SECONDS = 1.0
IDLE_BEAT_SECONDS = 10.0

log = structlog.get_logger()


def serve(settings: TrafficSettings, questions: QuestionSet, stop: threading.Event, heartbeat: Heartbeat) -> int:
    """Asks the initial questions and idles until `stop` is set.

    Failed questions are only logged: users can ask again with `docker exec`.

    Args:
        settings: Address, number and interval of the questions.
        questions: The set that they are drawn from.
        stop: Ends all phases early.
        heartbeat: Updated in all phases.

    Returns:
        The exit status: 0 after a stop, 1 if storage-service did not become ready in time.
    """
    if settings.traffic_initial_requests:
        api = ApiClient(settings.storage_url)
        log.info("began to wait for the storage service", url=api.url)
        if not _became_ready(api, settings.traffic_ready_timeout_seconds, stop, heartbeat):
            return 0 if stop.is_set() else generate_traffic.EXIT_FAILURES
        _ask_initial(settings, questions, api, stop, heartbeat)
    if not stop.is_set():
        log.info("began to idle")
    heartbeat.beat()
    while not stop.wait(IDLE_BEAT_SECONDS):
        heartbeat.beat()
    log.info("stopped")
    return 0


def _became_ready(api: ApiClient, timeout_seconds: float, stop: threading.Event, heartbeat: Heartbeat) -> bool:
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RequestFailed),
        wait=tenacity.wait_fixed(READY_INTERVAL_SECONDS),
        stop=tenacity.stop_after_delay(timeout_seconds) | tenacity.stop_when_event_set(stop),
        sleep=tenacity.sleep_using_event(stop),
        before=lambda _attempt: heartbeat.beat(),
        reraise=True,
    )
    try:
        attempts(api.check_ready)
    except RequestFailed as failure:
        if not stop.is_set():
            log.error("gave up on the storage service", seconds=timeout_seconds, reason=failure.reason)
        return False
    return not stop.is_set()


def _ask_initial(
    settings: TrafficSettings,
    questions: QuestionSet,
    api: ApiClient,
    stop: threading.Event,
    heartbeat: Heartbeat,
) -> None:
    """Asks one question and, once it is answered, the others.

    The first answer shows that all stages work. Before that, the embedded model would only take processor time from the
    stages that are still starting, mainly Flink.
    """
    traffic = plan.Traffic(settings.traffic_interval_ms / 1000, settings.traffic_initial_requests)
    planned = plan.make(questions.questions, traffic, INITIAL_SEED)
    first = replace(planned, order=planned.order[:1], due_seconds=planned.due_seconds[:1])
    others = replace(planned, order=planned.order[1:], due_seconds=planned.due_seconds[:-1])
    _ask(first, api, runner.Options(wait=True, timeout_seconds=settings.traffic_ready_timeout_seconds), stop, heartbeat)
    if others and not stop.is_set():
        _ask(others, api, runner.Options(), stop, heartbeat)


def _ask(
    planned: plan.Plan, api: ApiClient, options: runner.Options, stop: threading.Event, heartbeat: Heartbeat
) -> None:
    def beat(_tally: Tally) -> None:
        heartbeat.beat()

    log.info("began to ask", count=len(planned), wait=options.wait)
    tally = runner.run(planned, api, options, stop=stop, on_progress=beat).tally
    log.info(
        "asked",
        asked=tally.asked,
        cached=tally.cached,
        completed=tally.completed,
        pending=tally.pending,
        failed=tally.failed,
        errors=tally.errors,
        **({"reasons": dict(tally.reasons)} if tally.reasons else {}),
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Verify imports, settings and the question set, and exit.")
def main(check: bool) -> None:
    """Ask the initial questions of the fleet, then idle until SIGTERM."""
    settings = load(TrafficSettings)
    try:
        questions = dataset.load()
    except DatasetError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(generate_traffic.EXIT_USAGE)
    if check:
        click.echo(f"traffic-generator: all well, {len(questions)} questions for {settings.storage_url}")
        return
    logs.configure("traffic-generator", settings)
    with stop_on_signal() as stop:
        status = serve(settings, questions, stop, Heartbeat())
    sys.exit(status)


if __name__ == "__main__":
    main()
