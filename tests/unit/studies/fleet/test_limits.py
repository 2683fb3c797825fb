from studies.fleet import limits


def run(**changes):
    return {
        "provider": "headers",
        "llm-consumers": 2,
        "s": 125.0,
        "allowed, s": 158.0,
        "refused share": 0.12,
        "allowed share": 0.1,
        "failed": 0,
    } | changes


def test_each_case_is_run_with_one_two_and_four_workers():
    found = limits.cases(20)
    for name in ("no hint", "headers"):
        assert [each.workers for each in found if each.name == name] == [1, 2, 4]
    assert any(each.flushed for each in found)
    assert any(each.limit.tokens for each in found)


def test_time_and_refusals_have_goals_of_their_own():
    time, refused = limits.compare([run()])
    assert (time.judged, time.goal, time.met) == (125.0, 158.0, True)
    assert (refused.judged, refused.goal, refused.met) == (0.12, 0.1, False)


def test_an_outage_may_fail_nothing():
    [failed] = limits.compare([run(provider="outage")])
    assert failed.met
    [failed] = limits.compare([run(provider="outage", failed=1)])
    assert not failed.met
