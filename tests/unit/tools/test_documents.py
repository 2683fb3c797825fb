import json
from pathlib import Path

import jsonschema
import pytest

from pipeline import messages, topics
from tests.unit import samples
from tools import documents

FOLDER = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("path", documents.documents())
def test_generated_documents_are_up_to_date(path):
    assert (FOLDER / path).read_text() == documents.documents()[path], "stale: run `make docs`"


def test_there_are_no_outdated_schema_files():
    present = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("schemas/*.json")}
    assert present == {path for path in documents.documents() if path.startswith("schemas/")}


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (topics.QUESTIONS_PENDING, samples.question()),
        (topics.RESPONSES_SUCCESS, samples.response()),
        (topics.ERROR_QUOTA, samples.failed_call("quota")),
        (topics.PERMANENT, messages.DeadLetter.of(b"k", None, samples.SOURCE, "null value", samples.NOW)),
    ],
)
def test_messages_conform_to_their_schema(topic, message):
    schema = json.loads((FOLDER / f"schemas/{topic}.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(message.to_bytes()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({"schema_version": 2})


def test_every_channel_has_its_senders():
    document = json.loads((FOLDER / "asyncapi.json").read_text())
    sent = {
        each["channel"]["$ref"].rsplit("/")[-1] for each in document["operations"].values() if each["action"] == "send"
    }
    assert sent == {topic.name for topic in topics.ALL} == set(document["channels"])
