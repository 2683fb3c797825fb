"""flink-job: keeps the job running."""

import sys

import structlog

from flink_job import submit
from flink_job.cluster import Cluster
from flink_job.settings import FlinkJobSettings
from flink_job.source import Topic
from pipeline import logs
from pipeline.health import Heartbeat
from pipeline.settings import load
from pipeline.shutdown import stop_on_signal

log = structlog.get_logger()


def check() -> None:
    """Imports what only the image has; a failure ends the process with a traceback."""
    from flink_job import cluster, job

    log.info("checked imports and settings", job=cluster.JOB_NAME, graph=job.__name__)


def main() -> None:
    """Looks after the job until told to stop; `--check` verifies imports and settings instead."""
    settings = load(FlinkJobSettings)
    logs.configure("flink-job", settings)
    if "--check" in sys.argv[1:]:
        check()
        return
    cluster, source = Cluster(settings.flink_jobmanager_url), Topic.of(settings)
    with stop_on_signal() as stop:
        submit.Supervisor(cluster, submit.submit, source, settings.checkpoint_dir, Heartbeat()).run(stop)
    log.info("stopped; the job goes on")


if __name__ == "__main__":
    main()
