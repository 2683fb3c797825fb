"""The settings in docs/providers.md are valid for llm-consumer."""

import re
from pathlib import Path

import pytest

from llm_consumer.settings import LlmSettings
from pipeline.settings import load

ROOT = Path(__file__).parents[3]
BLOCKS = [
    dict(line.split("=", 1) for line in block.splitlines() if re.match(r"[A-Z_]+=\S", line) and " docker " not in line)
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs/providers.md").read_text(), re.DOTALL)
]
SETTINGS = [block for block in BLOCKS if block]
IN_ENV = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env").read_text(), re.MULTILINE))


def test_the_document_has_settings_for_each_provider():
    base_urls = {block["LLM_BASE_URL"] for block in SETTINGS if "LLM_BASE_URL" in block}
    assert len(base_urls) == 6
    assert LlmSettings.model_fields["llm_base_url"].default in base_urls


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: next(reversed(block.values())))
def test_the_documented_settings_are_valid(monkeypatch, block):
    assert block.keys() <= IN_ENV | {"COMPOSE_PROFILES"}
    for name, value in block.items():
        monkeypatch.setenv(name, value)
    assert load(LlmSettings).targets
