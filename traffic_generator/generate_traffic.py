"""The command line: `python generate_traffic.py --num-requests 50 --interval 500`.

In the container it runs in this folder, with PYTHONPATH set to the parent folder.
"""

import json
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.api_client import REPLY_SECONDS, ApiClient
from pipeline.settings import URL_PATTERN, load
from pipeline.shutdown import stop_on_signal
from traffic_generator import dataset, plan, progress, runner
from traffic_generator.dataset import DatasetError, QuestionSet
from traffic_generator.plan import Arrivals, Distribution, Traffic
from traffic_generator.report import Report
from traffic_generator.settings import TrafficSettings

EXIT_FAILURES = 1
EXIT_USAGE = 2
# Drawn seeds are short, so that they can be typed again.
SEEDS = 1_000_000
# A plan is kept in memory, 40 bytes per question. A larger number is a mistake in a duration or a rate.
MAX_REQUESTS = 1_000_000
# Each question in flight uses a thread and a connection, limited by the container's memory.
MAX_CONCURRENCY = 512
# Default with `--interval 0`, where the number in flight cannot be computed from a rate.
CONCURRENCY_AT_ONCE = 32
# Arrivals that `--distribution` also accepts, because many users expect them there.
ARRIVALS_AS_DISTRIBUTIONS = (Arrivals.BURST.value, Arrivals.POISSON.value)
# Short enough to be readable in a question, long enough to be unique for each run.
MARK_BITS = 32


def _url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.match(URL_PATTERN, value):
        raise click.BadParameter(f"{value!r} is not an http(s) address")
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--num-requests", type=click.IntRange(min=1), default=20, help="Number of questions to ask.")
@click.option(
    "--interval",
    type=click.IntRange(min=0),
    default=500,
    metavar="MS",
    help="Milliseconds between two questions, independent of the replies.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True, max=1000),
    default=None,
    metavar="PER_SECOND",
    help="Mean number of questions per second, instead of --interval.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="SECONDS",
    help="How long to ask, instead of --num-requests.",
)
@click.option(
    "--distribution",
    type=click.Choice([*(each.value for each in Distribution), *ARRIVALS_AS_DISTRIBUTIONS]),
    default=Distribution.SHUFFLED.value,
    help="Which question comes next: each once before any is repeated (shuffled), each with the same probability "
    "(uniform), or few of them often (zipf). `burst` and `poisson` mean uniform with these --arrivals.",
)
@click.option(
    "--arrivals",
    type=click.Choice([each.value for each in Arrivals]),
    default=Arrivals.STEADY.value,
    help="When questions come: at fixed intervals (steady), many at once and then a pause (burst), or independently of "
    "each other, as from many people (poisson).",
)
@click.option(
    "--zipf-exponent",
    type=click.FloatRange(min=0, min_open=True, max=10),
    default=1.0,
    metavar="S",
    help="With zipf: the probability of the question on rank k is proportional to 1/k^S.",
)
@click.option(
    "--burst-size",
    type=click.IntRange(min=1),
    default=10,
    metavar="N",
    help="With burst: number of questions sent at once.",
)
@click.option(
    "--unique",
    is_flag=True,
    help="Make each question a new one by a mark in its context, so that none comes from the cache.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=MAX_CONCURRENCY),
    default=None,
    show_default=f"computed from the pace, at most {MAX_CONCURRENCY}; {CONCURRENCY_AT_ONCE} with --interval 0",
    metavar="N",
    help="Maximum of questions without a reply. If it is too low for the pace, questions are sent late.",
)
@click.option("--wait/--no-wait", default=False, help="Follow pending questions until completed or failed.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600,
    metavar="SECONDS",
    help="With --wait: how long to wait in total, from when the last question was sent.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=None,
    help="The same seed asks the same questions in the same order. Drawn and reported by default.",
)
@click.option(
    "--dataset",
    "dataset_path",
    type=click.Path(path_type=Path),
    default=dataset.DEFAULT_PATH,
    show_default="data/questions.csv",
    help=f"CSV with the columns {', '.join(dataset.COLUMNS)}; JSON Lines with the same names; or the Yahoo! Answers "
    "format (class, title, body, best answer). May be compressed by gzip. The format is detected. `-`: standard input.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=dataset.SAMPLE,
    metavar="N",
    help="Draw N questions of a larger set, always the same ones. Memory depends only on N.",
)
@click.option(
    "--url",
    callback=_url,
    default=None,
    show_default="STORAGE_URL or http://storage-service:5001",
    help="Address of the storage service.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print only the report, no progress.")
@click.pass_context
def main(
    context: click.Context,
    num_requests: int,
    interval: int,
    rate: float | None,
    duration: float | None,
    distribution: str,
    arrivals: str,
    zipf_exponent: float,
    burst_size: int,
    unique: bool,
    concurrency: int | None,
    wait: bool,
    timeout: float,
    seed: int | None,
    dataset_path: Path,
    sample: int,
    url: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ask the fleet questions and report the results.

    Questions are drawn from the set at random and sent on schedule, independent of the replies. Progress goes to
    standard error, the report to standard output.

    \b
    Examples:
      50 questions, two per second:
        python generate_traffic.py --num-requests 50 --interval 500
      The same 50 twice, the second time from the cache:
        python generate_traffic.py --num-requests 50 --seed 7 --wait
        python generate_traffic.py --num-requests 50 --seed 7 --interval 0
      Like people for ten minutes, three per second, popular questions often:
        python generate_traffic.py --rate 3 --duration 600 --distribution zipf --arrivals poisson
      For a script, until all answers are there:
        python generate_traffic.py --wait --timeout 300 --json --quiet

    \b
    Exit status:
      0  all was well
      1  errors, failed questions, timeout, or stopped (Ctrl-C, SIGTERM)
      2  wrong usage, settings or question set
    """
    traffic = _traffic(
        _Given(context),
        Traffic(
            interval_seconds=interval / 1000 if rate is None else 1 / rate,
            count=num_requests if duration is None else None,
            duration_seconds=duration or 0.0,
            distribution=_distribution(distribution),
            arrivals=_arrivals(distribution, arrivals, _Given(context)),
            zipf_exponent=zipf_exponent,
            burst_size=burst_size,
        ),
        unique,
    )
    address = url or load(TrafficSettings).storage_url
    try:
        questions = dataset.load(dataset_path, sample)
    except DatasetError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE)
    seed = random.randrange(SEEDS) if seed is None else seed
    mark = f"{random.getrandbits(MARK_BITS):0{MARK_BITS // 4}x}" if unique else None
    planned = plan.make(questions.questions, traffic, seed, mark)
    options = runner.Options(wait=wait, timeout_seconds=timeout, max_asking=concurrency or _concurrency(traffic))
    with stop_on_signal() as stop, progress.showing(Console(stderr=True), wait=wait, quiet=quiet) as show:
        report = runner.run(planned, ApiClient(address), options, stop=stop, on_progress=show)
    if as_json:
        header = {"url": address, "seed": seed, "traffic": _traffic_as_json(traffic, questions, mark)}
        click.echo(json.dumps(header | report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print_table(report, f"{address}, seed {seed}\n{_described(traffic, questions, mark)}")
    sys.exit(0 if report.ok else EXIT_FAILURES)


@dataclass(frozen=True, slots=True)
class _Given:
    """Contains the options that were given on the command line."""

    context: click.Context

    def __contains__(self, option: str) -> bool:
        name = option.removeprefix("--").replace("-", "_")
        return self.context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _distribution(name: str) -> Distribution:
    return Distribution.UNIFORM if name in ARRIVALS_AS_DISTRIBUTIONS else Distribution(name)


def _arrivals(distribution: str, arrivals: str, given: _Given) -> Arrivals:
    """Returns the arrivals of both options; `--distribution poisson` means `--arrivals poisson`.

    Raises:
        UsageError: The options contradict each other.
    """
    if distribution not in ARRIVALS_AS_DISTRIBUTIONS:
        return Arrivals(arrivals)
    if "--arrivals" in given and arrivals != distribution:
        raise click.UsageError(
            f"--distribution {distribution} and --arrivals {arrivals} both set when questions come: give one. "
            f"(With --arrivals, --distribution is shuffled, uniform or zipf.)"
        )
    return Arrivals(distribution)


def _traffic(given: _Given, traffic: Traffic, unique: bool) -> Traffic:
    """Returns `traffic` if its options are consistent.

    Raises:
        UsageError: They are not; the message says what is needed.
    """
    at_once = not traffic.interval_seconds
    is_zipf = traffic.distribution is Distribution.ZIPF
    is_burst = traffic.arrivals is Arrivals.BURST
    checks = (
        ("--rate" in given and "--interval" in given, "--rate R and --interval MS both set the pace: give one"),
        (
            "--duration" in given and "--num-requests" in given,
            "--duration and --num-requests both say when to stop: give one (S seconds at --rate R are R x S questions)",
        ),
        (at_once and traffic.count is None, "--duration needs a pace: --rate, or --interval above 0"),
        (
            at_once and traffic.arrivals is not Arrivals.STEADY,
            f"{traffic.arrivals} arrivals need a pace: --rate, or --interval above 0",
        ),
        ("--burst-size" in given and not is_burst, "--burst-size is for --arrivals burst"),
        ("--zipf-exponent" in given and not is_zipf, "--zipf-exponent is for --distribution zipf"),
        (unique and is_zipf, "--unique makes each question a new one, so that zipf has no effect"),
    )
    for is_wrong, message in checks:
        if is_wrong:
            raise click.UsageError(message)
    if traffic.count is None and (count := traffic.duration_seconds / traffic.interval_seconds) > MAX_REQUESTS:
        raise click.UsageError(f"that would be {count:,.0f} questions, more than {MAX_REQUESTS:,}")
    return traffic


def _concurrency(traffic: Traffic) -> int:
    if not traffic.interval_seconds:
        return CONCURRENCY_AT_ONCE
    return min(MAX_CONCURRENCY, plan.max_in_flight(traffic, REPLY_SECONDS))


def _described(traffic: Traffic, questions: QuestionSet, mark: str | None) -> str:
    size = f"{len(questions):,}"
    if questions.rows > len(questions):
        size += f" of {questions.rows:,}"
    skipped = f" ({questions.skipped:,} rows without a question skipped)" if questions.skipped else ""
    return f"{traffic}, {size} questions{skipped}" + (f", made unique as run {mark}" if mark else "")


def _traffic_as_json(traffic: Traffic, questions: QuestionSet, mark: str | None) -> dict[str, Any]:
    return {
        "distribution": traffic.distribution,
        "zipf_exponent": traffic.zipf_exponent if traffic.distribution is Distribution.ZIPF else None,
        "arrivals": traffic.arrivals,
        "burst_size": traffic.burst_size if traffic.arrivals is Arrivals.BURST else None,
        "rate_per_second": 1 / traffic.interval_seconds if traffic.interval_seconds else None,
        "questions": len(questions),
        "questions_in_file": questions.rows,
        "rows_skipped": questions.skipped,
        "run": mark,
    }


def _print_table(report: Report, title: str) -> None:
    console = Console()
    console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in report.rows():
        table.add_row(name, value)
    console.print(table)
    for remark in report.remarks():
        console.print(remark, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
