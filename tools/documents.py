"""Generates documents from the code and other sources: `python -m tools.documents [FOLDER]`.

It writes `schemas/TOPIC.json` (JSON Schema 2020-12) for each topic, `asyncapi.json` (AsyncAPI 3.0), `settings.md`, and
the demonstration in each language.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline import messages, topics
from pipeline.version import VERSION
from tools import demonstrations, settings_table

DEFAULT_FOLDER = Path(__file__).parent.parent / "docs"


def documents() -> dict[str, str]:
    """Returns the text of each generated document by its path below the folder of documents."""
    found = {f"schemas/{topic.name}.json": _json(_schema(topic)) for topic in topics.ALL}
    found |= {"asyncapi.json": _json(_asyncapi()), "settings.md": settings_table.document()}
    return found | demonstrations.documents()


def _schema(topic: topics.Topic) -> dict[str, Any]:
    schema = messages.BY_TOPIC[topic.name].json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": topic.name,
        "description": topic.purpose,
    } | {name: value for name, value in schema.items() if name not in ("title", "description")}


def _asyncapi() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for topic in topics.ALL:
        channel = {"$ref": f"#/channels/{topic.name}"}
        for action, services in (("send", topic.producers), ("receive", topic.consumers)):
            for service in services:
                operations[f"{service}.{action}.{topic.name}"] = {
                    "action": action,
                    "channel": channel,
                    "tags": [{"name": service}],
                }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "askfleet",
            "version": VERSION,
            "description": "The way of a question through the topics. Keys are question ids; "
            "delivery is at least once, effects are idempotent by question_id and processing_attempts.",
        },
        "defaultContentType": "application/json",
        "servers": {"fleet": {"host": "kafka:9092", "protocol": "kafka"}},
        "channels": {
            topic.name: {
                "address": topic.name,
                "description": topic.purpose,
                "messages": {"message": {"$ref": f"#/components/messages/{topic.name}"}},
                "bindings": {"kafka": {"topic": topic.name, "partitions": topic.partitions, "replicas": 1}},
            }
            for topic in topics.ALL
        },
        "operations": operations,
        "components": {
            "messages": {
                topic.name: {"payload": {"$ref": f"./schemas/{topic.name}.json"}, "summary": topic.purpose}
                for topic in topics.ALL
            }
        },
    }


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the documents."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    for path, text in documents().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(target)


if __name__ == "__main__":
    main()
