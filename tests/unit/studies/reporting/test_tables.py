from studies.reporting.tables import csv_of, table, table_of


def test_a_table_has_every_column_once_and_gaps_where_a_run_lacks_it():
    assert table_of([{"side": "fleet", "n": 5000}, {"side": "celery", "idle": 1.234567}]).splitlines() == [
        "| side | n | idle |",
        "| --- | --- | --- |",
        "| fleet | 5000 |  |",
        "| celery |  | 1.23 |",
    ]


def test_a_table():
    assert table(("a", "b"), [(1, 2)]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_csv_has_a_header_and_quotes():
    assert csv_of([{"a": 1, "b": "x, y"}, {"a": 2.5, "b": ""}]) == 'a,b\n1,"x, y"\n2.5,\n'
