"""flink-job: keeps the job running."""

import structlog

from flink_job import submit
from flink_job.cluster import JOB_NAME, Cluster
from flink_job.settings import FlinkJobSettings
from flink_job.source import Topic
from pipeline import command
from pipeline.health import Heartbeat
from pipeline.shutdown import stop_on_signal

log = structlog.get_logger()


def main() -> None:
    """Supervises the job until SIGTERM."""
    settings = command.start("flink-job", FlinkJobSettings, _check)
    cluster, source = Cluster(settings.flink_jobmanager_url), Topic.of(settings)
    with stop_on_signal() as stop:
        submit.Supervisor(cluster, submit.submit, source, settings.checkpoint_dir, Heartbeat()).run(stop)
    log.info("stopped; the job keeps running")


def _check(_settings: FlinkJobSettings) -> str:
    from flink_job import job  # here, because PyFlink is installed in the image only

    return f"job {JOB_NAME} of {job.__name__}"


if __name__ == "__main__":
    main()
