from pipeline import messages, topics
from studies.fleet import flink_alone


def test_answers_are_messages_of_their_topic_and_all_different():
    made = flink_alone.answers(3)
    read = [messages.read(topics.RESPONSES_SUCCESS, each.question_id.encode(), each.to_bytes()) for each in made]
    assert len({each.question_id for each in read}) == 3
    assert all(each.original_answer for each in read), "without one nothing is scored"


def test_each_parallelism_has_its_goal():
    runs = [{"side": flink_alone.FLINK, "records/s": 1200.0}, {"side": flink_alone.PLAIN, "records/s": 1000.0}]
    one, two = (flink_alone.compare(runs, parallelism) for parallelism in (1, 2))
    assert (one.judged, one.met) == (1.2, True)
    assert (two.goal, two.met) == (1.5, False)
