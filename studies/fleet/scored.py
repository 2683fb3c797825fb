"""Measures scored answers/s through Flink and HTTP: `python -m studies.fleet.scored`, in the tests' container.

Real answers of the embedded model with their references are written to the job's topic at once and scored by the
fleet's real scorer; the resulting decisions are counted. The same engine scores the same pairs in process, in a
container of the scorer's image, with several batch sizes, of which the best counts. Both sides alternate.
"""

import argparse
import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline import topics
from pipeline.messages import MAX_ATTEMPTS_LIMIT, Question, Response
from pipeline.question import question_id
from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.questions import unique_questions
from studies.fleet.flink_alone import time_decisions, without_writer
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import Fleet

FLEET, ALONE = "fleet", "in process"
ANSWERS = Path("studies/answers/data/smollm2-135m-instruct.jsonl")
SCRIPT = Path("studies/scorer/in_process.py")
SCORER = "score-validator"
BATCH_SIZES = (1, 8, 16, 32, 64)
WARM_UP = 50

METHOD = """\
Recorded answers of the embedded model with their references, repeated if there are too few. Through the fleet: they are
written as last attempts to llm-responses-success, so that each makes one decision; the time is from the first record
until the broker has the last decision, with storage-writer stopped. In process: the scorer's own engine and settings,
alone in its container, with a new engine for each batch size."""

Pair = tuple[str, str]


def pairs(lines: Sequence[str], count: int) -> list[Pair]:
    """Returns (answer, reference) of recorded attempts, repeated if there are too few.

    Raises:
        ValueError: None of them has a reference.
    """
    rows = [json.loads(line) for line in lines]
    known = [(row["llm_response"], row["original_answer"]) for row in rows if row["original_answer"]]
    if not known:
        raise ValueError("no attempt has a reference")
    return list(itertools.islice(itertools.cycle(known), count))


def responses(of: Sequence[Pair]) -> list[Response]:
    """Returns answers of the last attempt to new questions."""
    now = datetime.now(UTC)
    made = []
    for text, (answer, reference) in zip(unique_questions(len(of))[1], of, strict=True):
        question = Question(
            question_id=question_id(text),
            question_text=text,
            original_answer=reference,
            asked_at=now,
            processing_attempts=MAX_ATTEMPTS_LIMIT,
        )
        made.append(
            question.convert_to(Response, llm_response=answer, model="recorded", llm_latency_ms=0, generated_at=now)
        )
    return made


def compare(runs: Sequence[Run]) -> Comparison:
    """Compares the medians; in process, that of the best batch size."""
    fleet = median([run for run in runs if run["side"] == FLEET], "answers/s")
    by_size = {
        size: median([run for run in runs if run["batch size"] == size], "answers/s")
        for size in {int(run["batch size"]) for run in runs if run["side"] == ALONE}
    }
    best = max(by_size, key=lambda size: by_size[size])
    return Comparison(
        figure="scored answers/s through Flink and HTTP",
        unit="answers/s",
        fleet=fleet,
        against=by_size[best],
        baseline=f"in process, batches of {best}",
        goal=0.7,
    )


def alone(fleet: Fleet, of: Sequence[Pair], sizes: Sequence[int]) -> dict[int, float]:
    """Scores in process, in a container of the scorer's image; returns answers/s by batch size."""
    scorer = fleet.container(SCORER)
    container = fleet.docker.containers.create(
        scorer.attrs["Config"]["Image"],
        command=["python", f"/tmp/{SCRIPT.name}", "/tmp/pairs.jsonl", *map(str, sizes)],
        environment=[*scorer.attrs["Config"]["Env"], "PYTHONPATH=/app"],
        mem_limit="2g",
        network_mode="none",
    )
    try:
        lines = "".join(json.dumps(pair) + "\n" for pair in of)
        container.put_archive("/tmp", archive({"pairs.jsonl": lines.encode(), SCRIPT.name: SCRIPT.read_bytes()}))
        container.start()
        status = container.wait(timeout=900)["StatusCode"]
        said = container.logs().decode(errors="replace")
        if status:
            raise MeasurementError(f"the scorer in process ended with {status}: {said[-500:]}")
    finally:
        container.remove(force=True)
    [rates] = [line.removeprefix("rates ") for line in said.splitlines() if line.startswith("rates ")]
    return {int(size): float(rate) for size, rate in json.loads(rates).items()}


def archive(files: dict[str, bytes]) -> bytes:
    """Returns a tar archive of files that all users can read."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(body), 0o644
            tar.addfile(info, io.BytesIO(body))
    return packed.getvalue()


@study(
    "How many answers/s are scored through Flink and HTTP, compared with the same engine in process?",
    METHOD,
    option("--answers", type=int, default=600, help="answers of each run (default: 600)"),
    option("--rounds", type=int, default=3, help="rounds of each side, alternating (default: 3)"),
    option("--batch-sizes", type=int, nargs="+", default=list(BATCH_SIZES), help="in process"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    of = pairs(ANSWERS.read_text(encoding="utf-8").splitlines(), options.answers)
    ways = topics.RESPONSES_SUCCESS, topics.VALIDATED
    with idle_fleet() as fleet, without_writer(fleet):
        time_decisions(*ways, responses(of[:WARM_UP]))
        for number in range(1, options.rounds + 1):
            for side in (FLEET, ALONE) if number % 2 else (ALONE, FLEET):
                found: list[Run]
                if side == FLEET:
                    found = [{"batch size": "", "answers/s": len(of) / time_decisions(*ways, responses(of))}]
                else:
                    rates = alone(fleet, of, options.batch_sizes)
                    found = [{"batch size": size, "answers/s": rate} for size, rate in rates.items()]
                runs.add(*({"side": side, "round": number, "answers": len(of), **each} for each in found))
    return Findings([compare(runs)])


if __name__ == "__main__":
    main()
