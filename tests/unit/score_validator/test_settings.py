import pytest

from pipeline.settings import load
from score_validator.settings import ScorerSettings


def test_empty_variables_mean_the_embedded_encoder_on_the_cpu(monkeypatch):
    monkeypatch.setenv("BERTSCORE_LAYER", "")
    monkeypatch.setenv("BERTSCORE_MODEL", "")
    settings = load(ScorerSettings)
    assert (settings.bertscore_model, settings.bertscore_layer, settings.scorer_device) == ("", None, "cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BERTSCORE_LAYER", "0"),
        ("BERTSCORE_LAYER", "last"),
        ("SCORER_DEVICE", "gpu"),
        ("SCORER_PRECISION", "fp16"),
        ("SCORER_BATCH", "0"),
        ("SCORER_CACHE_MB", "-1"),
        ("SCORER_QUEUE", "0"),
        ("SCORER_THREADS", "-1"),
        ("SCORER_PORT", "70000"),
    ],
)
def test_an_invalid_value_is_reported_with_its_variable(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="2"):
        load(ScorerSettings)
    assert name in capsys.readouterr().err
