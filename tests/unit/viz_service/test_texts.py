"""The catalogues agree with each other and with the code that uses their texts."""

import re
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from werkzeug.datastructures import LanguageAccept

from pipeline import provider_status
from pipeline.messages import Cause
from viz_service import assets, schemas
from viz_service.texts import LANGUAGES, LOCALES, Language, catalogue, choose

ROOT = Path(assets.__file__).parent
PLACEHOLDER = re.compile(r"(?<!\{)\{[\w.-]+\}")


def used_keys() -> tuple[set[str], set[str]]:
    """Returns the keys and the prefixes of keys that templates, modules and Python code use."""
    keys: set[str] = set()
    prefixes: set[str] = set()
    sources = [*ROOT.glob("*.py"), *ROOT.glob("templates/*.html"), *ROOT.glob("static/*.js")]
    for path in sources:
        source = path.read_text()
        for kind, key in re.findall(r"""(?<![\w.])(t|plural|t\.plural)\(\s*f?["'`]([\w.-]+)""", source):
            keys |= {f"{key}.one", f"{key}.other"} if kind != "t" and not key.endswith(".") else {key}
        keys |= set(re.findall(r'data-note="([\w.]+)"', source)) | set(re.findall(r'"(way\.\w+)"', source))
        keys |= {key for pair in re.findall(r'\? "(\w+\.[\w.]+)" : "(\w+\.[\w.]+)"', source) for key in pair}
        prefixes |= {key for key in keys if key.endswith(".")}
    return keys - prefixes, prefixes


def test_every_language_has_the_same_keys() -> None:
    assert {each.stem for each in LOCALES.glob("*.json")} == set(LANGUAGES)
    first, *others = (set(catalogue(each).entries) for each in LANGUAGES)
    for other in others:
        assert other ^ first == set()


def test_every_text_has_the_same_placeholders_in_every_language() -> None:
    for key in catalogue("en").entries:
        placeholders = {each: sorted(PLACEHOLDER.findall(catalogue(each).entries[key])) for each in LANGUAGES}
        assert placeholders["es"] == placeholders["en"], key


def test_every_used_text_exists() -> None:
    keys, prefixes = used_keys()
    entries = set(catalogue("en").entries)
    assert len(keys) > 100
    assert keys - entries == set()
    assert [prefix for prefix in prefixes if not any(key.startswith(prefix) for key in entries)] == []


def test_every_text_is_used() -> None:
    keys, prefixes = used_keys()
    unused = {
        key
        for key in catalogue("en").entries
        if key not in keys
        and not key.startswith(tuple(prefixes))
        and not re.match(r"chart\.[\w-]+\.(title|read)$", key)
    }
    assert unused == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_and_state_has_a_text(language: Language) -> None:
    t = catalogue(language)
    kinds = get_args(schemas.Alert.model_fields["kind"].annotation)
    for key in (
        *(f"alert.{each}" for each in kinds),
        *(f"why.{each}" for each in get_args(schemas.FailureReason.model_fields["kind"].annotation)),
        *(f"sort.{each}" for each in get_args(schemas.Sort)),
        *(f"reason.{each}" for each in get_args(schemas.Reason)),
        *(f"state.{each}" for each in (*get_args(schemas.Status), *get_args(schemas.Quality))),
        *(f"error.{each}" for each in ("overload", "quota", "permanent")),
        *(f"cause.{each}" for each in get_args(Cause)),
        *(f"provider.{each}" for each in get_args(provider_status.State)),
        *(f"provider.source.{each}" for each in get_args(provider_status.LimitSource)),
    ):
        assert t.entries[key]


def test_few_texts_are_equal_in_both_languages() -> None:
    same = [key for key, text in catalogue("en").entries.items() if catalogue("es").entries[key] == text]
    assert len(same) < 25, same


def test_numbers_are_formatted_for_the_language() -> None:
    en, es = catalogue("en"), catalogue("es")
    assert (en.number(-1234.5, 1), es.number(-1234.5, 1)) == ("\u22121,234.5", "\u22121234,5")
    assert (en.number(12345), es.number(12345)) == ("12,345", "12.345")
    assert (en.percent(0.125), es.percent(0.125)) == ("12.5%", "12,5\u00a0%")
    assert (en.duration(950), en.duration(1500), es.duration(90_000)) == ("950\u00a0ms", "1.5\u00a0s", "1,5\u00a0min")
    assert en.number(None) == en.percent(None) == en.duration(None) == "\u2013"


@pytest.mark.parametrize(
    ("cost", "written"),
    [
        (None, "\u2013"),
        ("0E-9", "0"),
        ("0.0001184", "0.000118"),
        ("0.4", "0.400"),
        ("1.6", "1.60"),
        ("1234.567", "1,234.57"),
    ],
)
def test_costs_are_rounded_to_significant_digits(cost: str | None, written: str) -> None:
    assert catalogue("en").cost(Decimal(cost) if cost else None) == written
    assert catalogue("es").cost(Decimal("0.0001184")) == "0,000118"


def test_plurals_depend_on_the_number() -> None:
    assert catalogue("en").plural("attempts", 1) == "1 attempt"
    assert catalogue("es").plural("attempts", 2) == "2 intentos"


@pytest.mark.parametrize(
    ("asked", "kept", "header", "chosen"),
    [
        (None, None, [("es-MX", 1), ("en", 0.5)], "es"),
        (None, None, [("de", 1)], "en"),
        (None, None, [], "en"),
        (None, "es", [("en", 1)], "es"),
        ("en", "es", [("es", 1)], "en"),
        ("xx", "yy", [("es", 1)], "es"),
    ],
)
def test_the_language_comes_from_the_query_the_cookie_or_the_browser(
    asked: str | None, kept: str | None, header: list[tuple[str, float]], chosen: str
) -> None:
    assert choose(asked, kept, LanguageAccept(header)) == chosen
