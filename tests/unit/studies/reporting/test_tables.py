from studies.reporting.tables import table, table_of


def test_a_table_has_every_column_once_and_gaps_where_a_run_lacks_it():
    assert table_of([{"side": "fleet", "n": 5000}, {"side": "celery", "idle": 1.234567}]).splitlines() == [
        "| side | n | idle |",
        "| --- | --- | --- |",
        "| fleet | 5000 |  |",
        "| celery |  | 1.23 |",
    ]


def test_a_table():
    assert table(("a", "b"), [(1, 2)]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
