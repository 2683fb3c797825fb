import io
import json
import tarfile

import pytest

from pipeline.messages import MAX_ATTEMPTS_LIMIT
from pipeline.routing import Gate
from studies.fleet import scored

LINES = [
    json.dumps({"llm_response": "a", "original_answer": "A"}),
    json.dumps({"llm_response": "b", "original_answer": None}),
    json.dumps({"llm_response": "c", "original_answer": "C"}),
]


def test_pairs_come_again_when_they_are_used_up():
    assert scored.pairs(LINES, 3) == [("a", "A"), ("c", "C"), ("a", "A")]
    with pytest.raises(ValueError, match="reference"):
        scored.pairs(LINES[1:2], 1)


def test_answers_are_last_attempts_of_different_questions():
    made = scored.responses([("a", "A"), ("a", "A")])
    assert len({each.question_id for each in made}) == 2
    assert {(each.llm_response, each.original_answer) for each in made} == {("a", "A")}
    # Whatever the fleet's MAX_ATTEMPTS is, none of them is asked again.
    assert all(
        each.processing_attempts
        >= Gate(threshold=1, max_attempts=MAX_ATTEMPTS_LIMIT, self_check_threshold=1).max_attempts
        for each in made
    )


def test_the_best_batch_size_is_the_one_to_beat():
    runs = [
        {"side": scored.FLEET, "batch size": "", "answers/s": 60.0},
        {"side": scored.FLEET, "batch size": "", "answers/s": 70.0},
        {"side": scored.ALONE, "batch size": 1, "answers/s": 80.0},
        {"side": scored.ALONE, "batch size": 8, "answers/s": 100.0},
    ]
    comparison = scored.compare(runs)
    assert (comparison.judged, comparison.baseline, comparison.met) == (0.65, "in process, batches of 8", False)


def test_files_are_packed_as_they_are():
    with tarfile.open(fileobj=io.BytesIO(scored.archive({"one": b"1", "two": b"22"}))) as tar:
        assert {info.name: tar.extractfile(info).read() for info in tar} == {"one": b"1", "two": b"22"}
