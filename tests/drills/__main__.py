"""Command line `python -m tests.drills`, which runs in the container of the tests."""

import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from tests.drills import report
from tests.drills.drill import ENVIRONMENT, Drills, Options, Strike, strikes_of
from tests.drills.faults import ALL, SOAK_SECONDS, Fault, Stage
from tests.drills.report import About, Result
from tests.drills.scripts import WITH_QUOTA
from tests.fleet import Fleet
from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers

WORKERS = 2
SOAK_INTERVAL_SECONDS = 60.0


def _faults(_context: click.Context, _parameter: click.Parameter, value: str) -> list[Fault]:
    if value == "all":
        return list(ALL.values())
    names = value.split(",")
    if unknown := [name for name in names if name not in ALL]:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; --list shows them all")
    return [ALL[name] for name in names]


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.option("--faults", default="all", callback=_faults, metavar="NAME,NAME|all", help="Faults to play.")
@click.option("--list", "only_list", is_flag=True, help="Show the names of the faults.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=10.0, help="Questions per second.")
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, help="Duration of the load of each drill.")
@click.option(
    "--deadline", type=click.FloatRange(min=1), default=240.0, help="Seconds within which the fleet has to recover."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, help="Seed of the provider's scripts and of the soak's faults."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Write the ledger here, as Markdown; drills that are not played again stay in it.",
)
@click.pass_context
def main(
    context: click.Context,
    faults: list[Fault],
    only_list: bool,
    rate: float,
    seconds: float,
    deadline: float,
    seed: int,
    output: Path | None,
) -> None:
    """Break each part of the fleet under load and compare the final states of all questions with the expected ones.

    The fleet's own llm-consumers are stopped meanwhile. The questions of the drills stay in its database.

    \b
    Exit status:
      0  every promise was kept
      1  a promise was broken
      2  wrong usage
    """
    if only_list:
        for name, fault in ALL.items():
            click.echo(f"{name:34} {(fault.__doc__ or '').splitlines()[0]}")
        context.exit()
    options = Options(rate, seconds, seed, deadline)
    context.obj = (options, faults, output)
    if context.invoked_subcommand:
        return
    results: list[Result] = []
    with _stage(options) as drills:
        for number, fault in enumerate(faults, 1):
            _console(stderr=True).rule(f"{number}/{len(faults)} {fault.name}")
            results.append(drills.play(fault.name, strikes_of(fault, seconds), fault.mix))
            # After each drill, so that an interrupted run keeps its results.
            _write(results, options, output)
    _finish(results)


@main.command()
@click.option("--minutes", type=click.IntRange(min=1), default=60, help="Duration of the soak.")
@click.pass_obj
def soak(given: tuple[Options, list[Fault], Path | None], minutes: int) -> None:
    """Apply a random fault in each minute of a long load; the seed determines the faults."""
    options, faults, output = given
    options = replace(options, seconds=minutes * SOAK_INTERVAL_SECONDS)
    faults = [fault for fault in faults if fault.soaks]
    if not faults:
        raise click.UsageError("none of these faults may strike in a soak")
    draw = random.Random(options.seed)
    chosen = [draw.choice(faults) for _ in range(minutes)]
    strikes = [
        Strike((number + 0.25) * SOAK_INTERVAL_SECONDS, fault, min(fault.seconds, SOAK_SECONDS))
        for number, fault in enumerate(chosen)
    ]
    with _stage(options) as drills:
        results = [drills.play(f"soak, {minutes} min", strikes, WITH_QUOTA)]
    _write(results, options, output)
    _finish(results)


@contextmanager
def _stage(options: Options) -> Iterator[Drills]:
    """Yields the drills of a fleet whose model is the scripted provider, and restores the fleet at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that faults are undone
    console = _console(stderr=True)
    fleet, provider = Fleet(), ScriptedProvider()
    try:
        with Workers(fleet, provider.base_url, ENVIRONMENT, WORKERS) as workers:
            yield Drills(Stage(fleet, workers), provider, options, lambda line: console.log(line, highlight=False))
    finally:
        provider.close()


def _write(results: Sequence[Result], options: Options, output: Path | None) -> None:
    if output is None:
        return
    info = Fleet().docker.info()
    about = About(options.rate, options.seconds, options.seed, info["NCPU"], info["MemTotal"])
    before = output.read_text() if output.exists() else ""
    output.write_text(report.markdown(results, about, before, list(ALL)))
    owner = output.parent.stat()
    os.chown(output, owner.st_uid, owner.st_gid)


def _console(stderr: bool = False) -> Console:
    """Returns a console, which is wide enough for a table if it is not a terminal."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=180)


def _finish(results: Sequence[Result]) -> None:
    console = _console()
    console.print(report.table(results))
    for each in results:
        for line in report.explain(each):
            console.print(f"{each.fault}: {line}", highlight=False)
    sys.exit(0 if all(each.passed for each in results) else 1)


if __name__ == "__main__":
    main()
