import json

import pytest

from studies.fleet.environment import http_load


def test_every_body_is_posted_once_over_few_connections(httpserver):
    httpserver.expect_request("/query", method="POST").respond_with_json({}, status=202)
    bodies = [http_load.question(f"q{number}", "r") for number in range(20)]
    load = http_load.post(httpserver.url_for("/query"), bodies, 4).require(200, 202)
    assert sorted(request.data for request, _ in httpserver.log) == sorted(bodies)
    assert (len(load.latencies), load.statuses) == (20, {202: 20})
    assert load.rate == pytest.approx(20 / (load.finished - load.started))


def test_what_was_refused_was_not_measured(httpserver):
    httpserver.expect_request("/query").respond_with_data("", status=503)
    load = http_load.get(httpserver.url_for("/query"), 3, 2)
    with pytest.raises(SystemExit, match=r"could not measure.*503: 3"):
        load.require(200)


def test_a_question_without_reference_names_none():
    assert json.loads(http_load.question("q")) == {"question_text": "q"}
