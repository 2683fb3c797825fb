"""Import rules: a service imports `pipeline` and itself, never another service, a study, a tool or a test."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "pipeline")
NOT_SHIPPED = ("studies", "tools", "tests")
"""Folders that are not in any image of a service."""


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
    foreign = {*SERVICES, *NOT_SHIPPED} - {service}
    assert [(path.name, name) for path, name in imported(service) if name in foreign] == []


def texts(package):
    """Yields the texts in a package's code that are not docstrings."""
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield path, node.value


@pytest.mark.parametrize("service", [*SERVICES, "pipeline"])
def test_no_service_names_the_folder_of_another(service):
    """Such a path is a dependency that no import shows."""
    foreign = "|".join({*SERVICES, *NOT_SHIPPED} - {service})
    found = [(path.name, text) for path, text in texts(service) if re.search(rf"\b({foreign})/|^({foreign})$", text)]
    assert found == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_settings_read_the_environment(service):
    readers = [path.name for path in (ROOT / service).rglob("*.py") if "os.environ" in path.read_text()]
    assert readers == []
