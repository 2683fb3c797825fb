import json

import pytest

from score_validator.calibration import calibrated, file_name, find_baseline
from score_validator.encoder import EMBEDDED_LAYER, encoder_name


@pytest.mark.parametrize(
    ("value", "baseline", "expected"), [(0.2, 0.2, 0), (1, 0.2, 1), (0.6, 0.2, 0.5), (-1, 0.5, -1), (1.1, 0.2, 1)]
)
def test_the_baseline_becomes_0_and_a_perfect_score_1(value, baseline, expected):
    assert calibrated(value, baseline) == pytest.approx(expected)


def test_a_baseline_file_is_found_by_the_name_of_the_scorer(tmp_path):
    (tmp_path / file_name("owner/encoder/layer6")).write_text(json.dumps({"f1": {"mean": 0.25}}))
    assert find_baseline("owner/encoder/layer6", "", 6, tmp_path) == 0.25
    assert find_baseline("owner/encoder/layer5", "", 5, tmp_path) is None


def test_the_embedded_encoder_has_a_baseline():
    baseline = find_baseline(encoder_name("", EMBEDDED_LAYER), "", EMBEDDED_LAYER)
    assert baseline is not None
    assert 0 < baseline < 0.5


@pytest.mark.parametrize("model", ["../../etc", "", "no/such-model"])
def test_an_unknown_encoder_has_no_baseline(model):
    assert find_baseline(f"{model}/layer6", model, 6) is None
