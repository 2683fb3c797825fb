"""The scorer in process: pairs/s by batch size, as JSON.

studies/fleet/scored.py runs this in a container of the scorer's image:
`python in_process.py PAIRS SIZE …`, where PAIRS is a file with a JSON array [candidate, reference] a line.
"""

import json
import sys
import time
from pathlib import Path

from score_validator.scorer import Scored, load_scorer
from score_validator.settings import ScorerSettings


def main() -> None:
    """Measures each size with a new engine, so that no references are cached from another size."""
    path, *sizes = sys.argv[1:]
    pairs = [(candidate, reference) for candidate, reference in map(json.loads, Path(path).read_text().splitlines())]
    rates = {}
    for size in map(int, sizes):
        engine = load_scorer(ScorerSettings())
        engine.score([("The engine is warm.", "It has been used before.")])
        began = time.perf_counter()
        for start in range(0, len(pairs), size):
            scored = engine.score(pairs[start : start + size])
            if not all(isinstance(each, Scored) for each in scored):
                sys.exit("a pair cannot be scored")
        rates[size] = len(pairs) / (time.perf_counter() - began)
    print("rates " + json.dumps(rates))


if __name__ == "__main__":
    main()
