"""Import rules: a service imports `pipeline` and itself, never another service."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "pipeline")


def imported(package):
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module.split(".")[0]


def test_the_services_are_found():
    assert {"llm_consumer", "storage_service", "viz_service"} <= set(SERVICES)


@pytest.mark.parametrize("service", [*SERVICES, "pipeline"])
def test_no_service_imports_another(service):
    foreign = [(path.name, name) for path, name in imported(service) if name in SERVICES and name != service]
    assert foreign == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_settings_read_the_environment(service):
    readers = [path.name for path in (ROOT / service).rglob("*.py") if "os.environ" in path.read_text()]
    assert readers == []
