"""Measures whether the scorer's memory stays flat: `python -m studies.scorer.memory`, from the root of the repository.

Scores many pairs of new texts of very different lengths through the queue and the engine, and prints the memory of the
process during that. Memory is flat if it stops growing once the cache is full.
"""

import argparse
import random
import resource
from pathlib import Path

from score_validator.scorer import load_scorer
from score_validator.scoring import Scoring
from score_validator.settings import ScorerSettings
from studies.threshold.questions import QUESTIONS_FILE, read_references

REQUEST = 64


def resident_mib() -> float:
    """Returns the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50_000)
    options = parser.parse_args()
    chance = random.Random(1)
    words = " ".join(read_references(QUESTIONS_FILE)).split()

    def text() -> str:
        # Mostly short, so that all pairs take minutes; some have the maximum length of the encoder.
        length = 400 if chance.random() < 0.001 else chance.randint(1, 8)
        return " ".join(chance.choices(words, k=length))

    scoring = Scoring(load_scorer(ScorerSettings()), REQUEST)
    for done in range(0, options.pairs + 1, REQUEST):
        if done % (REQUEST * 100) == 0:
            print(f"{done:7} pairs {resident_mib():7.0f} MiB", flush=True)
        scoring.score([(text(), text()) for _ in range(REQUEST)])
    print(f"{options.pairs:7} pairs {resident_mib():7.0f} MiB")


if __name__ == "__main__":
    main()
