"""The fleet as a whole: its containers, published ports, topics, job, pages and logs."""

import json
import re

import pytest
import requests

from pipeline import topics
from tests.fleet import eventually

LONG_RUNNING = {
    "postgres": "postgres_db",
    "redis": "redis_cache",
    "kafka": "kafka_broker",
    "storage-service": "storage_service",
    "storage-writer": "storage_writer",
    "llm-server": "llm_server",
    "llm-consumer": None,
    "retry-overload-consumer": "retry_overload_consumer",
    "retry-quota-consumer": "retry_quota_consumer",
    "score-validator": "score_validator",
    "judge-service": "judge_service",
    "flink-jobmanager": "flink_jobmanager",
    "flink-taskmanager": None,
    "flink-job": "flink_job",
    "viz-service": "viz_service",
    "traffic-generator": "traffic_generator",
    "kafka-ui": "kafka_ui",
    "reverse-proxy": "reverse_proxy",
}


@pytest.mark.parametrize(("service", "name"), LONG_RUNNING.items())
def test_each_service_runs_under_its_name(fleet, service, name):
    containers = fleet.containers(service)
    assert containers
    assert name in (None, *[each.name for each in containers])


def test_only_the_reverse_proxy_publishes_ports_and_only_on_loopback(fleet):
    published = {
        (service.labels["com.docker.compose.service"], port, binding["HostIp"])
        for service in fleet.containers()
        for port, bindings in service.attrs["NetworkSettings"]["Ports"].items()
        for binding in bindings or []
    }
    assert published == {("reverse-proxy", f"{port}/tcp", "127.0.0.1") for port in (5001, 5002, 8080, 8081)}


def test_no_process_is_root(fleet):
    # Reads /proc with a shell in the container, because `docker top` depends on the machine's ps.
    script = """for status in /proc/[0-9]*/status; do
        while read -r key value _; do
            case $key in Name:) name=$value ;; Uid:) echo "$value $name"; break ;; esac
        done <"$status"
    done 2>/dev/null; :"""

    def users(container):
        return container.exec_run(["sh", "-c", script]).output.decode().splitlines()

    found = {container.name: users(container) for container in fleet.containers()}
    assert all(found.values())
    assert [(name, each) for name, processes in found.items() for each in processes if each.startswith("0 ")] == []


def test_the_one_shots_ended_with_status_0(fleet):
    for service in ("kafka-init", "postgres-init"):
        [container] = fleet.containers(service, everything=True)
        assert container.attrs["State"]["ExitCode"] == 0


def test_the_seven_topics_exist(fleet):
    listed = fleet.exec("kafka", "kafka-topics", "--bootstrap-server", "localhost:9092", "--list").split()
    assert {topic.name for topic in topics.ALL} <= set(listed)
    described = fleet.exec(
        "kafka", "kafka-topics", "--bootstrap-server", "localhost:9092", "--describe", "--topic", topics.PERMANENT
    )
    assert f"max.message.bytes={topics.MAX_PERMANENT_BYTES}" in described


def test_flink_runs_the_job(fleet):
    assert re.search(r"score-validator \(RUNNING\)", fleet.exec("flink-jobmanager", "flink", "list"))
    base = "http://flink-jobmanager:8081"
    jobs = requests.get(f"{base}/jobs/overview", timeout=10).json()["jobs"]
    running = [each for each in jobs if each["state"] == "RUNNING"]
    assert [each["name"] for each in running] == ["score-validator"]
    job = requests.get(f"{base}/jobs/{running[0]['jid']}", timeout=10).json()
    stages = " | ".join(vertex["name"] for vertex in job["vertices"])
    for stage in ("Kafka Source", "Score Calculator", "Decision Splitter", "Kafka Sink"):
        assert stage in stages
    settings = requests.get(f"{base}/jobs/{running[0]['jid']}/checkpoints/config", timeout=10).json()
    assert settings["interval"] == 30_000
    assert requests.get(f"{base}/config", timeout=10).json()["features"]["web-submit"] is False


def test_checkpoints_complete(fleet):
    base = "http://flink-jobmanager:8081"
    [job] = [each for each in requests.get(f"{base}/jobs", timeout=10).json()["jobs"] if each["status"] == "RUNNING"]

    def completed():
        counts = requests.get(f"{base}/jobs/{job['id']}/checkpoints", timeout=10).json()["counts"]
        return counts["completed"] > 0 and counts

    eventually(completed, "a checkpoint is complete", 90, interval=1)


def test_the_pages_are_served(fleet):
    for url in (
        "http://reverse-proxy:5001/docs/swagger",
        "http://reverse-proxy:5002/",
        "http://reverse-proxy:8080/",
        "http://reverse-proxy:8081/",
    ):
        page = requests.get(url, timeout=15)
        assert page.status_code == 200, url
        assert "text/html" in page.headers["Content-Type"]


@pytest.mark.parametrize("service", ["storage-service", "viz-service", "score-validator", "judge-service"])
def test_web_services_have_health_readiness_and_metrics(fleet, service):
    port = {"storage-service": 5001, "viz-service": 5002}.get(service, 8000)
    base = f"http://{service}:{port}"
    assert requests.get(f"{base}/health", timeout=10).json()["status"] == "ok"
    assert requests.get(f"{base}/ready", timeout=10).status_code == 200
    assert "http_request_seconds" in requests.get(f"{base}/metrics", timeout=10).text


def verify(fleet, *options, **environment):
    """Compares the scorer with bert-score, in a container of the image with torch and with the scorer's settings."""
    scorer = fleet.container("score-validator").attrs["Config"]
    prefix, tag = re.fullmatch(r"(.*)/.*:(.*)", scorer["Image"]).groups()
    # Look the image up first, because Docker would pull a missing one.
    image = fleet.docker.images.get(f"{prefix}/score-validator-torch:{tag}")
    container = fleet.docker.containers.run(
        image,
        ["python", "-m", "score_validator.verify", *options],
        environment=[*scorer["Env"], *(f"{name}={value}" for name, value in environment.items())],
        network=fleet.network,
        mem_limit="2g",
        detach=True,
    )
    try:
        status = container.wait(timeout=600)["StatusCode"]
        output = container.logs().decode(errors="replace")
    finally:
        container.remove(force=True)
    print(output)
    assert status == 0, output


def test_the_scorer_equals_bert_score_pair_by_pair(fleet):
    """Compares bert-score, pair by pair, with single, concurrent and batched requests over HTTP."""
    verify(fleet)


def test_the_engine_equals_bert_score_for_another_layer(fleet):
    """The last layer is computed by torch; both run in one process."""
    verify(fleet, "--in-process", BERTSCORE_LAYER="6")


@pytest.mark.parametrize(
    ("service", "module"),
    [
        ("storage-service", ["storage_service"]),
        ("storage-writer", ["storage_writer"]),
        ("llm-consumer", ["llm_consumer"]),
        ("retry-quota-consumer", ["retry_consumers", "quota"]),
        ("viz-service", ["viz_service"]),
        ("traffic-generator", ["traffic_generator"]),
        ("llm-server", ["llm_server"]),
        ("score-validator", ["score_validator"]),
        ("judge-service", ["judge_service"]),
        ("flink-job", ["flink_job"]),
    ],
)
def test_the_check_of_each_image_passes(fleet, service, module):
    fleet.exec(service, "python", "-m", *module, "--check")


def test_logs_are_json_events(fleet):
    line = fleet.container("storage-writer").logs(tail=1).decode()
    event = json.loads(line)
    assert event["service"] == "storage-writer"
    assert event["level"]
    assert event["timestamp"]
