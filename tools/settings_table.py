"""Generates the table of all settings, docs/settings.md, from the settings classes in the folders of the services."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipeline.settings import KafkaSettings, Settings

ROOT = Path(__file__).parent.parent

_HEAD = """\
# Settings

Written by `make docs` from the settings classes; do not edit it by hand. Each is an environment variable of the
services in the last column. Those marked ✓ are set in [.env](../.env), whose value overrides the default here; a
variable of the same name in the shell overrides both. For the others, add a line to `environment` of the service in
`docker-compose.yml`. An invalid value stops the service with a message that names the variable.

| variable | default | range | meaning | `.env` | services |
| --- | --- | --- | --- | --- | --- |
"""

_SERVICES = {"retry_consumers": ("retry-overload-consumer", "retry-quota-consumer")}
"""Services of a folder, if it is not one service of the same name."""


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        name: Name of the variable.
        default: Default, as written in `.env`.
        allowed: Description of the allowed values.
        meaning: Description of the setting.
    """

    name: str
    default: str
    allowed: str
    meaning: str


def document() -> str:
    """Returns the text of docs/settings.md."""
    classes = settings_classes()
    set_by_file = _variables((ROOT / ".env").read_text())
    services: dict[Setting, list[str]] = {}
    for service, kind in classes.items():
        for setting in read(kind):
            services.setdefault(setting, []).append(service)
    rows = [
        _row(each, "✓" if each.name in set_by_file else "", users, len(classes))
        for each, users in sorted(services.items(), key=lambda item: (item[0].name, item[1]))
    ]
    return _HEAD + "".join(rows)


def settings_classes() -> Mapping[str, type[Settings]]:
    """Returns the settings class of each service that has one."""
    # kafka-init has no class of its own: it uses only the settings of Kafka.
    found: dict[str, type[Settings]] = {"kafka-init": KafkaSettings}
    for path in sorted(ROOT.glob("*/settings.py")):
        folder = path.parent.name
        if folder == "pipeline":
            continue
        module = importlib.import_module(f"{folder}.settings")
        [kind] = [each for each in vars(module).values() if _is_settings(each) and each.__module__ == module.__name__]
        for service in _SERVICES.get(folder, (folder.replace("_", "-"),)):
            found[service] = kind
    return found


def read(kind: type[Settings]) -> Iterable[Setting]:
    """Yields the settings of a class."""
    properties = kind.model_json_schema()["properties"]
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        yield Setting(name.upper(), _value(default), allowed(properties[name]), field.description or "")


def allowed(schema: Mapping[str, Any]) -> str:
    """Describes the values that a JSON Schema allows; empty if it allows any text."""
    if "anyOf" in schema:
        # A decimal number may also be a JSON string; in the environment both are the same.
        kinds = {each.get("type"): each for each in schema["anyOf"]}
        [other] = [kinds[each] for each in ("integer", "number", "string") if each in kinds][:1]
        return f"empty, or {allowed(other)}"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "object":
        # For objects with fixed fields, the description of the setting names them.
        return "JSON object" if schema.get("additionalProperties") is True else ""
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    if schema.get("type") not in ("integer", "number"):
        return "not empty" if schema.get("minLength") else ""
    kind = "whole number" if schema["type"] == "integer" else "number"
    low, above, high = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    if above is not None:
        return f"over {above:,}" + ("" if high is None else f", to {high:,}")
    if low is not None:
        return f"{low:,} and more" if high is None else f"{low:,} to {high:,}"
    return kind


def _is_settings(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Settings)


def _variables(env_file: str) -> set[str]:
    return {line.split("=", 1)[0] for line in env_file.splitlines() if "=" in line and not line.startswith("#")}


def _value(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return "" if default is None or default in ((), {}) else str(default)


def _row(setting: Setting, mark: str, users: list[str], all_services: int) -> str:
    where = "all" if len(users) == all_services else ", ".join(users)
    default = f"`{setting.default}`" if setting.default else "empty"
    cells = (f"`{setting.name}`", default, setting.allowed, setting.meaning, mark, where)
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |\n"
