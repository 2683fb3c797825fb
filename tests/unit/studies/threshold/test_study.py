"""The threshold study with a scorer that counts equal words (a fake, for tests only)."""

from datetime import date

from studies.reporting.statistics import Interval
from studies.threshold.questions import LABELS, Labelled
from studies.threshold.regeneration import Attempt
from studies.threshold.study import BEST, EMBEDDED, SERVICE_VARIANT, Evaluation, Variant, all_variants, document
from studies.threshold.variants import COSINE
from tests.unit.score_validator.fakes import FakeScorer

TEXTS = {
    "good": "air scatters the blue light",
    "partly": "air scatters",
    "wrong": "air scatters the red paint",
    "off_topic": "bread needs dough",
    "gibberish": "xq zw",
    "empty": " ",
}


def way(name, hard):
    interval = Interval(hard, hard - 0.1, hard + 0.1)
    return Variant(name, interval, interval, (0.9, 1.0), 0.99)


def test_the_document_has_its_threshold_its_pictures_and_where_the_way_of_the_service_ranks(tmp_path):
    questions = [f"q{number}" for number in range(4)]
    answers = [
        Labelled(question, f"air scatters the blue light {question}", label, TEXTS[label])
        for question in questions
        for label in LABELS
    ]
    attempts = [
        Attempt(question, number, f"air scatters {'light ' * (number - 1)}", f"air scatters the light {question}", "m")
        for question in questions
        for number in (1, 2, 3)
    ]
    evaluation = Evaluation("layer 6 F1", [way("layer 5 tail F1", 0.8), way(SERVICE_VARIANT, 0.6)])
    text = document(
        FakeScorer(),
        answers,
        attempts,
        "made up",
        {EMBEDDED: evaluation},
        Interval(0.5, 0.4, 0.6),
        tmp_path / "images",
        date(2026, 1, 2),
    )
    assert "QUALITY_THRESHOLD=" in text
    assert "- 24 labelled answers to 4 questions" in text
    assert "- 2026-01-02." in text
    assert "It is number 2 of 2 in the hard case, with a gain of 0.600 [0.500, 0.700] over layer 6 F1." in text
    assert "| layer 5 tail F1 | 0.800 [0.700, 0.900] |" in text
    for name in ("distribution", "labels", "roc", "cost"):
        assert (tmp_path / "images" / f"study-{name}.png").stat().st_size > 1000


def test_the_table_has_the_best_variants_and_those_to_compare_them_with():
    better = [way(f"layer {number} tail F1", 0.9) for number in range(BEST + 5)]
    others = [way(name, 0.5) for name in ("layer 1 F1", SERVICE_VARIANT, "layer 6 F1", COSINE)]
    evaluation = Evaluation("layer 6 F1", [*better, *others])
    shown = [line.split(" | ")[0].strip("| ") for line in evaluation.table().splitlines()[2:]]
    assert shown == [each.name for each in (*better[:BEST], *others[1:])]


def test_all_variants_are_rows_of_the_csv_file():
    interval, gain = Interval(0.8, 0.7, 0.9), Interval(-0.1, -0.2, 0.0)
    [row] = all_variants({"e": Evaluation("layer 6 F1", [Variant("w", interval, gain, (0.9, 1.0), 0.99)])})
    assert (row["encoder"], row["way"], row["good/wrong low"], row["gain"]) == ("e", "w", "0.700", "-0.100")
    assert (row["good/off topic"], row["model's answers/chance"]) == ("1.000", "0.990")
