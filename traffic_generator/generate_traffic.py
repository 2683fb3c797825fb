"""The command line: `python generate_traffic.py --num-requests 50 --interval 500`.

In the container it runs from this folder, with PYTHONPATH naming the folder above it.
"""

import json
import random
import re
import sys
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.settings import load
from pipeline.shutdown import stop_on_signal
from traffic_generator import dataset, plan, progress, runner
from traffic_generator.client import StorageClient
from traffic_generator.dataset import DatasetError
from traffic_generator.report import Report
from traffic_generator.settings import STORAGE_URL_PATTERN, TrafficSettings

EXIT_FAILURES = 1
EXIT_USAGE = 2
# Seeds that are drawn are short enough to be typed again.
SEEDS = 1_000_000


def _url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.match(STORAGE_URL_PATTERN, value):
        raise click.BadParameter(f"{value!r} is not an http(s) address")
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--num-requests", type=click.IntRange(min=1), default=20, help="How many questions to ask.")
@click.option(
    "--interval",
    type=click.IntRange(min=0),
    default=500,
    metavar="MS",
    help="Milliseconds from one question to the next, however long the replies take.",
)
@click.option("--wait/--no-wait", default=False, help="Follow pending questions until completed or failed.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600,
    metavar="SECONDS",
    help="With --wait: how long for, from when the last question was sent, for all of them together.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=None,
    help="The same seed asks the same questions in the same order. Drawn and reported if not given.",
)
@click.option(
    "--dataset",
    "dataset_path",
    type=click.Path(path_type=Path),
    default=dataset.DEFAULT_PATH,
    show_default="data/questions.csv",
    help=f"CSV file with the columns {', '.join(dataset.COLUMNS)}.",
)
@click.option(
    "--url",
    callback=_url,
    default=None,
    show_default="STORAGE_URL or http://storage-service:5001",
    help="Address of the storage service.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print the report only, no progress.")
def main(
    num_requests: int,
    interval: int,
    wait: bool,
    timeout: float,
    seed: int | None,
    dataset_path: Path,
    url: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ask the fleet questions at a steady pace and tell what came of them.

    Questions are drawn from the set at random, each one once before any is asked again. Progress goes to the error
    output, the report to the output.

    \b
    Examples:
      50 questions, two each second:
        python generate_traffic.py --num-requests 50 --interval 500
      The same 50 twice, the second time from the cache:
        python generate_traffic.py --num-requests 50 --seed 7 --wait
        python generate_traffic.py --num-requests 50 --seed 7 --interval 0
      For a script, until every answer is there:
        python generate_traffic.py --wait --timeout 300 --json --quiet

    \b
    Exit status:
      0  all was well
      1  errors, failed questions, time up or stopped (Ctrl-C, SIGTERM)
      2  wrong usage, settings or question set
    """
    address = url or load(TrafficSettings).storage_url
    try:
        questions = dataset.load(dataset_path)
    except DatasetError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE)
    seed = random.randrange(SEEDS) if seed is None else seed
    chosen = plan.choose(questions, num_requests, seed)
    options = runner.Options(interval_seconds=interval / 1000, wait=wait, timeout_seconds=timeout)
    with stop_on_signal() as stop, progress.showing(Console(stderr=True), wait=wait, quiet=quiet) as show:
        report = runner.run(chosen, StorageClient(address), options, stop=stop, on_progress=show)
    if as_json:
        click.echo(json.dumps({"url": address, "seed": seed} | report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print_table(report, seed, address)
    sys.exit(0 if report.ok else EXIT_FAILURES)


def _print_table(report: Report, seed: int, address: str) -> None:
    console = Console()
    table = Table(title=f"{address}, seed {seed}", title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in report.rows():
        table.add_row(name, value)
    console.print(table)
    for remark in report.remarks():
        console.print(remark, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
