"""Measures how often an accepted answer is right, with and without the judge of the running fleet.

`python -m studies.judge` asks the judge about the labelled answers that have no result yet, and writes
`judge-study.md`, its plot and its results.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from studies.answers.labelled import read
from studies.judge.measure import measure_all
from studies.judge.study import document, joined
from studies.reporting.files import write


def main() -> int:
    """Runs the study; returns 1 if there are too few results, or a service rejects an answer."""
    parser = argparse.ArgumentParser(prog="python -m studies.judge", description=__doc__)
    parser.add_argument("--scorer", default="http://score-validator:8000", help="address of score-validator")
    parser.add_argument("--judge", default="http://judge-service:8000", help="address of judge-service")
    parser.add_argument("--model", action="append", help="only answers of this model (may be repeated)")
    parser.add_argument("--threshold", type=float, default=0.32, help="QUALITY_THRESHOLD")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the results")
    options = parser.parse_args()
    answers = [each for each in read() if not options.model or each.model in options.model]
    file = options.docs / "judge-study.csv"
    try:
        results = asyncio.run(measure_all(answers, options.scorer, options.judge, file))
        today = datetime.now(UTC).date()
        text = document(joined(answers, results), options.threshold, options.docs / "images", today)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    write(options.docs / "judge-study.md", text.encode())
    print(options.docs / "judge-study.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
