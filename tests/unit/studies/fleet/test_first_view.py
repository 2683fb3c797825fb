from studies.fleet import first_view


def test_the_medians_are_held_against_the_goal():
    runs = [
        {"answers": 10_000, "round": number, first_view.NUMBERS: numbers, first_view.CHARTS: charts}
        for number, (numbers, charts) in enumerate([(300.0, 900.0), (400.0, 1100.0), (9000.0, 9000.0)])
    ]
    numbers, charts = first_view.compare(runs)
    assert (numbers.judged, numbers.met) == (400, True)
    assert (charts.judged, charts.met) == (1100, False)
    assert "10000 answers" in numbers.figure
