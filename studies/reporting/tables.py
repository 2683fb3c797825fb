"""Tables in Markdown and CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

Cell = str | int | float


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table; cells are converted by `str`."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def table_of(records: Sequence[Mapping[str, Cell]]) -> str:
    """Returns records as a table with a column for each name; missing values are empty."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    return table(columns, ([short(record.get(name, "")) for name in columns] for record in records))


def csv_of(records: Sequence[Mapping[str, Cell]]) -> str:
    """Returns records with the same names as CSV with a header."""
    body = io.StringIO()
    writer = csv.DictWriter(body, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return body.getvalue()


def short(value: Cell) -> str:
    """Returns a number with three significant digits, or without decimals from 1,000; other values unchanged."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
