import json

import pytest

from benchmarks import footprint


def test_a_question_took_what_rose_by_its_share():
    before = {("CPU of kafka", "ms"): 100.0, ("commands of Redis", ""): 7.0}
    after = {("CPU of kafka", "ms"): 150.0, ("commands of Redis", ""): 57.0, ("disk of the topic new", "bytes"): 5000}
    assert footprint.per_question(before, after, 10) == [
        {"what": "CPU of kafka", "unit": "ms", "per question": 5.0},
        {"what": "commands of Redis", "unit": "", "per question": 5.0},
        {"what": "disk of the topic new", "unit": "bytes", "per question": 500.0},
    ]


def test_the_sizes_of_a_topics_partitions_add_up():
    folders = [
        {"partitions": [{"partition": "a-b-0", "size": 10}, {"partition": "a-b-1", "size": 20}]},
        {"partitions": [{"partition": "c-0", "size": 1}]},
    ]
    described = "Querying brokers\nReceived\n" + json.dumps({"version": 1, "brokers": [{"logDirs": folders}]})
    assert footprint.topic_bytes(described) == {"a-b": 30, "c": 1}


def test_what_is_no_description_is_said():
    with pytest.raises(ValueError, match="no JSON"):
        footprint.topic_bytes("Error: the broker is away")
