"""Compares the scores with those of bert-score: `python -m score_validator.verify`, in the image score-validator-torch.

Scores a fixed list of pairs with `bert_score.BERTScorer.score`, each alone, in this process, and by HTTP with the
service at `--url`: one by one, concurrently, and in batches with very different pairs. Prints the largest difference of
each method and exits with 1 if one is above 1e-5.

`--in-process` tests the engine of the settings in this process instead of the service, for example the last layer in
torch: `BERTSCORE_LAYER=6 python -m score_validator.verify --in-process`.

Both sides need single precision (`SCORER_PRECISION=fp32`, the default), and the same `BERTSCORE_MODEL` and
`BERTSCORE_LAYER`.
"""

import argparse
import http.client
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import urlsplit

from pipeline.settings import load
from score_validator.scorer import InvalidPair, Scored, Unscorable, load_scorer
from score_validator.scoring import Scoring
from score_validator.settings import ScorerSettings
from score_validator.torch_encoder import load_bert_scorer

URL = "http://score-validator:8000"
TOLERANCE = 1e-5
CALLERS = 8
SEED = 1
ATTEMPTS = 60
TIMEOUT_SECONDS = 300

Pair = tuple[str, str]
Numbers = tuple[float, float, float]
Result = Numbers | None
"""None: the pair has no score, because the encoder cannot read it."""

_LONG = (
    "The water cycle describes how water moves between the oceans, the air and the land. The sun heats the surface of "
    "the sea, water evaporates, rises, cools and condenses into clouds, and falls again as rain or snow. "
)
_LIST = " ".join(
    f"Step {number}: turn the screw by {number * 15} degrees and look at the gauge." for number in range(80)
)

PAIRS: tuple[Pair, ...] = (
    ("Paris.", "Paris"),
    ("The capital of France is Paris.", "The capital of France is Paris."),
    ("The capital of France is Lyon.", "The capital of France is Paris."),
    ("Paris is where the French government sits.", "The capital of France is Paris."),
    ("Bananas are rich in potassium.", "The capital of France is Paris."),
    ("no", "Yes, you can, but ask your doctor first if you take other medicine."),
    ("?", "!"),
    ("42", "The answer is forty-two."),
    ("asdf qwer zxcv uiop hjkl", "Restart the router and wait for two minutes."),
    ("the the the the the the the the the the", "A determiner comes before a noun."),
    ("RESTART THE ROUTER", "restart the router"),
    ("  Restart the\n\n\trouter.  ", "Restart the router."),
    ("print('hello')  # a comment", "Use the print function: print('hello')"),
    ("x = (-b ± √(b² - 4ac)) / 2a", "Solve the quadratic equation with the quadratic formula."),
    ("Der Himmel ist blau, weil Luft blaues Licht streut.", "Le ciel est bleu car l'air diffuse la lumière bleue."),
    ("天空是蓝色的,因为空气散射蓝光。", "The sky is blue because air scatters blue light."),
    ("السماء زرقاء لأن الهواء يشتت الضوء الأزرق", "השמיים כחולים כי האוויר מפזר אור כחול"),
    ("Небо голубое из-за рассеяния света.", "空が青いのは光の散乱のためです。"),  # noqa: RUF001
    ("I love it 😍🔥👩‍👩‍👧‍👦", "😍"),
    ("🙂", "It is a smiling face."),
    ("e\u0301tude \u200d\ufeff caf\u00e9", "étude café"),
    ("nul\x00in the middle", "a control character in the middle"),
    ("a" * 5000, "One word without an end."),
    ("one " * 509 + "end", "The text ends."),
    ("one " * 510 + "end", "The text ends."),
    ("one " * 511 + "end", "The text ends."),
    (_LONG, "Water evaporates, forms clouds and comes back as rain."),
    (_LONG * 20, "Water evaporates, forms clouds and comes back as rain."),
    ("Rain.", _LONG * 20),
    (_LONG * 15, _LIST),
    (_LIST, _LIST + " Done."),
)


class Target(Protocol):
    """A scorer to compare with bert-score; thread-safe."""

    def score(self, pair: Pair) -> Result:
        """Scores one pair."""

    def batch(self, pairs: Sequence[Pair]) -> list[Result]:
        """Scores pairs in one request."""


class Engine:
    """The scorer of the settings in this process, with its own queue."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Loads the scorer."""
        self._scoring = Scoring(load_scorer(settings), CALLERS * len(PAIRS), settings.scorer_batch)

    def score(self, pair: Pair) -> Result:
        """Scores one pair."""
        return self.batch([pair])[0]

    def batch(self, pairs: Sequence[Pair]) -> list[Result]:
        """Scores pairs in one request."""
        return [_raw(each) for each in self._scoring.score(pairs)]


class Service:
    """The endpoints of a running scorer."""

    def __init__(self, url: str) -> None:
        """Takes its address, `http://host:port`."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80

    def score(self, pair: Pair) -> Result:
        """Scores one pair."""
        return _numbers(self._post("/score", {"candidate": pair[0], "reference": pair[1]}))

    def batch(self, pairs: Sequence[Pair]) -> list[Result]:
        """Scores pairs in one request."""
        body = {"pairs": [{"candidate": candidate, "reference": reference} for candidate, reference in pairs]}
        return [_numbers(score) for score in self._post("/score/batch", body)["scores"]]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for _ in range(ATTEMPTS):
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            try:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
            finally:
                connection.close()
            if response.status == 200:
                parsed: dict[str, Any] = json.loads(answer)
                return parsed
            if response.status != 503:
                raise SystemExit(f"{path}: {response.status} {answer.decode(errors='replace')}")
            time.sleep(float(response.getheader("Retry-After", "1")))
        raise SystemExit(f"{path}: the scorer stayed busy")


def one_by_one(target: Target) -> list[Result]:
    """Scores each pair alone."""
    return [target.score(pair) for pair in PAIRS]


def concurrently(target: Target) -> list[Result]:
    """Scores all pairs by several concurrent callers, in another order."""
    order = random.Random(SEED).sample(range(len(PAIRS)), len(PAIRS))
    with ThreadPoolExecutor(CALLERS) as pool:
        scores = list(pool.map(lambda index: target.score(PAIRS[index]), order))
    return [scores[order.index(index)] for index in range(len(PAIRS))]


def batched(target: Target) -> list[Result]:
    """Scores all pairs in one batch, short and long ones together."""
    return target.batch(PAIRS)


def batched_with_long_pairs(target: Target) -> list[Result]:
    """Scores each pair in a small batch between the longest and the shortest pair, two batches at a time."""
    longest = max(PAIRS, key=lambda pair: len(pair[0]) + len(pair[1]))
    shortest = min(PAIRS, key=lambda pair: len(pair[0]) + len(pair[1]))
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda pair: target.batch([longest, pair, shortest])[1], PAIRS))


def _alone(bert: Any, candidate: str, reference: str) -> Numbers:
    precision, recall, f1 = bert.score([candidate], [reference])
    return float(precision[0]), float(recall[0]), float(f1[0])


def _raw(result: Scored | Unscorable | InvalidPair) -> Result:
    if isinstance(result, InvalidPair):
        raise result
    return (result.precision, result.recall, result.f1) if isinstance(result, Scored) else None


def _numbers(score: dict[str, Any]) -> Result:
    if score["unscorable"]:
        return None
    return score["precision"], score["recall"], score["f1"]


METHODS: tuple[Callable[[Target], list[Result]], ...] = (
    one_by_one,
    concurrently,
    batched,
    batched_with_long_pairs,
)


def difference(expected: Numbers, got: Result) -> float:
    """Returns the largest absolute difference of the three numbers; 0 for a pair without a score."""
    if got is None:
        return 0.0
    return max(abs(left - right) for left, right in zip(expected, got, strict=True))


def main() -> int:
    """Compares and reports; returns 1 if a score differs by more than the tolerance."""
    settings = load(ScorerSettings)
    parser = argparse.ArgumentParser(prog="python -m score_validator.verify", description=__doc__)
    parser.add_argument("--url", default=URL, help=f"address of the scorer (default: {URL})")
    parser.add_argument("--in-process", action="store_true", help="test the engine in this process instead")
    options = parser.parse_args()
    target = Engine(settings) if options.in_process else Service(options.url)

    bert, name, _ = load_bert_scorer(settings)
    expected = [_alone(bert, candidate, reference) for candidate, reference in PAIRS]
    print(
        f"{len(PAIRS)} pairs, {name}, F1 {min(f1 for *_, f1 in expected):.3f} to {max(f1 for *_, f1 in expected):.3f}"
    )
    worst = 0.0
    for method in METHODS:
        results = method(target)
        differences = [difference(want, got) for want, got in zip(expected, results, strict=True)]
        largest = max(differences)
        worst = max(worst, largest)
        not_scored = f"{results.count(None)} pairs are not scored"
        print(f"{method.__name__.replace('_', ' ')}: largest difference {largest:.1e}, {not_scored}")
        for index, each in enumerate(differences):
            if each > TOLERANCE:
                print(f"  pair {index}: {each:.1e} {PAIRS[index][0][:60]!r}")
    print(f"largest absolute difference: {worst:.1e} (tolerance {TOLERANCE:.0e})")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
