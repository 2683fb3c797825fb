import math

import pytest

from score_validator.__main__ import main
from score_validator.encoder import EMBEDDED_LAYER, EncoderError
from score_validator.scorer import InvalidPair, checked, engine_of, load_scorer
from score_validator.settings import ScorerSettings


@pytest.mark.parametrize("not_finite", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(3))
def test_a_score_that_is_not_finite_is_an_error(not_finite, place):
    numbers = [0.5, 0.5, 0.5]
    numbers[place] = not_finite
    result = checked(*numbers, ())
    assert isinstance(result, InvalidPair)
    assert "cannot be scored" in str(result)


def test_a_negative_score_is_valid():
    assert checked(-0.1, 0.2, -0.4, ("reference",)).truncated == ("reference",)


@pytest.mark.parametrize(
    "other", [{"bertscore_layer": 6}, {"bertscore_model": "roberta-large"}, {"scorer_device": "cuda"}]
)
def test_int8_requires_the_embedded_encoder_on_the_cpu(other):
    with pytest.raises(EncoderError, match="SCORER_PRECISION"):
        load_scorer(ScorerSettings(scorer_precision="int8", **other))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BERTSCORE_MODEL", "roberta-large"),
        ("BERTSCORE_LAYER", "6"),
        ("SCORER_DEVICE", "cuda"),
        ("SCORER_PRECISION", "bf16"),
    ],
)
@pytest.mark.parametrize("option", [[], ["--check"]])
def test_a_setting_that_needs_torch_ends_the_start_without_torch(monkeypatch, capsys, name, value, option):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["score_validator", *option])
    monkeypatch.setattr("pipeline.server.serve", lambda *_, **__: pytest.fail("gunicorn was started"))
    monkeypatch.setattr("score_validator.scorer.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="2"):
        main()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: ")
    assert "SCORER_TARGET=score-validator-torch" in line


def test_int8_and_the_embedded_layer_need_no_torch(monkeypatch):
    monkeypatch.setattr("score_validator.scorer.find_spec", lambda _: None)
    for settings in ({}, {"scorer_precision": "int8"}, {"bertscore_layer": EMBEDDED_LAYER}):
        assert engine_of(ScorerSettings(**settings)) == "onnxruntime"
