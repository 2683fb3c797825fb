"""Measures the answer cache and writes docs/cache-study.md with figures and plots: `python -m studies.cache.study`.

It asks the fleet no questions: it reads the fleet's answers and looks them up in a separate Redis.
"""

import argparse
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.settings import EXIT_USAGE, URL_PATTERN, load
from studies.cache import measure, report
from studies.cache.measure import LookupPlan, StudyError, StudyRedis
from studies.reporting import plots
from studies.reporting.files import write
from studies.reporting.machine import machine
from studies.reporting.tables import csv_of
from traffic_generator import dataset
from traffic_generator.dataset import DatasetError
from traffic_generator.settings import TrafficSettings

# Drawn seeds are short, so that they can be typed again.
SEEDS = 1_000_000
FEWEST_QUESTIONS, MOST_QUESTIONS = 100, 1_000_000


def _url(value: str) -> str:
    if not re.match(URL_PATTERN, value):
        raise argparse.ArgumentTypeError(f"{value!r} is not an http(s) address")
    return value


def _count(value: str) -> int:
    number = int(value)
    if not FEWEST_QUESTIONS <= number <= MOST_QUESTIONS:
        raise argparse.ArgumentTypeError(f"{number} is not from {FEWEST_QUESTIONS} to {MOST_QUESTIONS}")
    return number


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.cache.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--redis",
        default="redis://cache-study-redis:6379/0",
        metavar="URL",
        help="an empty Redis without a limit, never the fleet's (default: %(default)s)",
    )
    parser.add_argument(
        "--questions",
        type=_count,
        default=50_000,
        metavar="N",
        help="different questions; each cache is warmed by 2 N lookups and measured for N (default: 50000)",
    )
    parser.add_argument("--output", type=Path, default=Path("docs/cache-study.md"), help="page (default: %(default)s)")
    parser.add_argument(
        "--dataset", type=Path, default=dataset.DEFAULT_PATH, help="questions that the fleet may have answered"
    )
    parser.add_argument(
        "--sample", type=int, default=dataset.SAMPLE, help="questions to draw from a larger set (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="seed of the draws; drawn and reported by default")
    parser.add_argument("--url", type=_url, help="address of storage-service (default: STORAGE_URL)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes the page, its figures and its plots; returns 2 if it cannot."""
    options = _options(arguments)
    count = options.questions
    seed = random.randrange(SEEDS) if options.seed is None else options.seed
    try:
        questions = dataset.load(options.dataset, options.sample)
        server = StudyRedis(options.redis)
        known = measure.known_answers(options.url or load(TrafficSettings).storage_url, questions.questions)
        answers = measure.multiplied(known, count)
        asked, where = LookupPlan(questions=count, warm_up=2 * count, lookups=count, seed=seed), machine()
        results = []
        for result in measure.study(server, answers, asked):
            results.append(result)
            if not options.quiet:
                print(*(f"{name} {value}" for name, value in measure.row(result).items()), sep="  ", file=sys.stderr)
    except (DatasetError, StudyError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_USAGE
    mean_bytes = sum(len(each.model_dump_json().encode()) for each in answers) / len(answers)
    page = report.document(results, asked, len(known), mean_bytes, server.version, where.line())
    write(options.output, page.encode())
    write(options.output.with_suffix(".csv"), csv_of([measure.row(result) for result in results]).encode())
    for name, figure in report.figures(results).items():
        write(options.output.parent / report.PLOTS[name], plots.png(figure))
    print(f"wrote {options.output}, its figures and its plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
