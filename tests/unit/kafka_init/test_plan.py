from kafka_init.plan import plan
from pipeline import topics
from pipeline.topics import Topic


def wanted(partitions=3):
    return [Topic("a", partitions, "", (), ())]


def test_an_empty_broker_gets_all_seven():
    assert [topic.name for topic in plan(topics.ALL, {}).create] == [topic.name for topic in topics.ALL]
    assert len(topics.ALL) == 7


def test_a_second_run_has_nothing_to_do():
    done = plan(topics.ALL, {topic.name: topic.partitions for topic in topics.ALL})
    assert (done.create, done.grow) == ([], [])


def test_too_few_partitions_are_raised_and_more_are_left_alone():
    assert [topic.name for topic in plan(wanted(), {"a": 1}).grow] == ["a"]
    assert plan(wanted(), {"a": 12}).grow == []
