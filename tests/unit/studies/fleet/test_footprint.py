from studies.fleet import footprint


def test_a_question_took_what_rose_by_its_share():
    before = {("CPU of kafka", "ms"): 100.0, ("commands of Redis", ""): 7.0}
    after = {("CPU of kafka", "ms"): 150.0, ("commands of Redis", ""): 57.0, ("disk of the topic new", "bytes"): 5000}
    assert footprint.per_question(before, after, 10) == [
        {"what": "CPU of kafka", "unit": "ms", "per question": 5.0},
        {"what": "commands of Redis", "unit": "", "per question": 5.0},
        {"what": "disk of the topic new", "unit": "bytes", "per question": 500.0},
    ]


def test_the_sizes_of_a_topics_segments_add_up():
    counted = (
        "  10 /data/a-b-0/00.log\n  20 /data/a-b-0/10.log\n 300 /data/a-b-1/00.log\n   1 /data/c-0/00.log\n 331 total\n"
    )
    assert footprint.topic_bytes(counted) == {"a-b": 330, "c": 1}
