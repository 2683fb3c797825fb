"""Checks of the requirements files: all of them are installed together in the image with torch."""

from collections import defaultdict
from pathlib import Path

LISTS = {path.name: path for path in (Path(__file__).parents[3] / "score_validator").glob("requirements*.txt")}


def pins(name):
    lines = LISTS[name].read_text().splitlines()
    return dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_a_package_has_the_same_version_in_all_files():
    versions = defaultdict(set)
    for name in LISTS:
        for package, version in pins(name).items():
            versions[package].add(version)
    assert {"torch", "transformers", "onnxruntime", "tokenizers"} <= set(versions)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_the_service_does_not_require_torch_or_the_packages_of_the_export():
    service = pins("requirements.txt") | pins("requirements-no-deps.txt")
    assert {"onnxruntime", "tokenizers"} <= set(service)
    assert not {"torch", "transformers", "bert-score", "huggingface-hub", "onnx", "matplotlib", "pandas"} & set(service)
    assert not set(pins("requirements-weights-no-deps.txt")) & set(service)
