"""Requirements for every service of docker-compose.yml, and for the model as a whole."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.version import VERSION

ROOT = Path(__file__).parents[2]
ONE_SHOTS = {"kafka-init", "postgres-init", "ollama-pull"}
PUBLISHED = {"reverse-proxy": [5001, 5002, 8080, 8081]}
SCALABLE = {"llm-consumer", "flink-taskmanager"}
WRITES_TO_ITS_ROOT = {"kafka"}


def dot_env():
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def rendered():
    text = (ROOT / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"(?<!\$)\$\{(\w+)\}", lambda match: dot_env()[match[1]], text))


MODEL = rendered()
FLEET = {name: each for name, each in MODEL["services"].items() if "profiles" not in each}
SERVICES = {name: each for name, each in MODEL["services"].items() if each.get("profiles") in (None, ["ollama"])}


@pytest.mark.parametrize("name", SERVICES)
class TestEveryService:
    def test_drops_capabilities_and_is_read_only(self, name):
        service = SERVICES[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is (name not in WRITES_TO_ITS_ROOT)
        assert "privileged" not in service
        assert "cap_add" not in service

    def test_has_a_memory_limit(self, name):
        assert re.fullmatch(r"\d+[mg]", SERVICES[name]["mem_limit"])

    def test_restarts_and_has_time_to_stop(self, name):
        assert SERVICES[name]["restart"] == ("on-failure" if name in ONE_SHOTS else "unless-stopped")
        assert SERVICES[name]["init"] is True
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= 15

    def test_has_a_name_unless_it_scales(self, name):
        assert ("container_name" in SERVICES[name]) is (name not in SCALABLE)

    def test_dependencies_have_a_condition(self, name):
        depends_on = SERVICES[name].get("depends_on", {})
        assert all(each["condition"] for each in depends_on.values())

    def test_publishes_ports_only_if_it_is_the_reverse_proxy(self, name):
        ports = SERVICES[name].get("ports", [])
        assert ports == [f"127.0.0.1:{port}:{port}" for port in PUBLISHED.get(name, [])]

    def test_image_has_a_version(self, name):
        assert re.search(r":v?\d", SERVICES[name]["image"])

    def test_own_images_are_never_pulled(self, name):
        service = SERVICES[name]
        assert (service.get("pull_policy") == "never") is service["image"].startswith("askfleet/")

    def test_mounts_have_options_that_all_engines_support(self, name):
        """podman does not support `uid=` for a tmpfs; with SELinux a container can read a folder only with `z`."""
        assert not any("uid=" in each or "gid=" in each for each in SERVICES[name].get("tmpfs", []))
        folders = [each for each in SERVICES[name].get("volumes", []) if each.startswith("./")]
        assert all("z" in each.split(":")[2].split(",") for each in folders)


def test_the_images_have_the_version_of_the_project():
    assert dot_env()["IMAGE_TAG"] == VERSION


def test_the_changelog_has_a_section_for_the_version():
    assert f"\n## {VERSION} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_tests_use_the_configured_docker_socket():
    tests = MODEL["services"]["tests"]
    assert f"{dot_env()['DOCKER_SOCKET']}:/var/run/docker.sock" in tests["volumes"]
    assert tests["security_opt"] == ["label=disable"]


def test_one_shots_have_a_dependent_service():
    """`up --wait` fails when a one-shot ends, unless a long-running service waits for its success."""
    for one_shot in ONE_SHOTS:
        waiting = [
            name
            for name, each in FLEET.items()
            if each.get("depends_on", {}).get(one_shot, {}).get("condition") == "service_completed_successfully"
        ]
        assert waiting, one_shot


def test_the_sum_of_memory_limits_is_below_12_gib():
    def mebibytes(service):
        size = service["mem_limit"]
        return int(size[:-1]) * (1024 if size.endswith("g") else 1) * service.get("deploy", {}).get("replicas", 1)

    # Limits bound a faulty service; the system tests measure the actual use of memory.
    assert sum(mebibytes(each) for each in FLEET.values()) < 12 * 1024


def test_every_setting_of_the_environment_file_is_used():
    text = (ROOT / "docker-compose.yml").read_text()
    assert [name for name in dot_env() if f"${{{name}}}" not in text] == []


def test_there_are_two_llm_consumers_by_default():
    assert FLEET["llm-consumer"]["deploy"]["replicas"] == 2


def test_every_folder_of_a_service_is_in_the_fleet():
    builds = [each["build"] for each in FLEET.values() if "build" in each]
    built = {
        each["args"].get("SERVICE") or Path(each["dockerfile"]).parent.name for each in builds if each["context"] == "."
    }
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"pipeline"}
    assert built == packages | {"reverse_proxy"}  # settings of nginx, no Python


def test_the_scorer_has_an_image_with_torch_and_one_without():
    """Both are stages of one Dockerfile; the one with torch is for tests and studies unless SCORER_TARGET names it."""
    scorer, with_torch = MODEL["services"]["score-validator"], MODEL["services"]["score-validator-torch"]
    assert with_torch["profiles"] == ["tests"]
    for service, target in ((scorer, "score-validator"), (with_torch, "score-validator-torch")):
        assert service["build"]["target"] == target
        assert service["image"] == f"askfleet/{target}:{dot_env()['IMAGE_TAG']}"
        assert service["pull_policy"] == "never"
        assert re.search(rf"^FROM \S+ AS {target}$", (ROOT / service["build"]["dockerfile"]).read_text(), re.M)
    assert scorer["environment"] == with_torch["environment"]


def test_services_of_the_ollama_profile_are_optional():
    assert set(SERVICES) - set(FLEET) == {"ollama", "ollama-pull"}
    assert FLEET["llm-consumer"]["depends_on"]["ollama-pull"]["required"] is False
