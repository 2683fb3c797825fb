"""The pages, their assets and their headers."""

import gzip
import json
import re
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from flask.testing import FlaskClient

from pipeline.messages import JudgeProblem, Reason, RejectedBy, ScoreWarning, UnscorableReason
from tests.unit.viz_service.fakes import (
    KNOWN,
    NOW,
    SCRIPT,
    UNKNOWN,
    FakeQueries,
    FakeState,
    FakeStorage,
    client_for,
    letter,
    question,
    waiting_error,
)
from viz_service import assets, figures
from viz_service.pipeline_state import Sample
from viz_service.schemas import Alert, AttemptJudge, ErrorRecord, Failure, FigureName, Judge, QuestionDetail, Usage
from viz_service.settings import VizSettings
from viz_service.texts import LOCALES

STATIC = assets.STATIC
QUESTION = f"/questions/{KNOWN}"
PAGES = ("/", "/questions", QUESTION, "/ask", "/failed", "/dead-letters")
FAR = NOW + timedelta(days=36_500)


class Page(HTMLParser):
    """Collects the tags, scripts and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.script_text = ""
        self.text = ""
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_script:
            self.script_text += data

    def addresses(self) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags for name in ("src", "href") if name in attrs]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def page(client: FlaskClient, path: str, **more: object) -> Page:
    return Page(client.get(path, **more).get_data(as_text=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", PAGES)
class TestEveryPage:
    def test_has_no_inline_script_or_style(self, client: FlaskClient, path: str) -> None:
        content = page(client, path)
        assert content.script_text.strip() == ""
        assert all(attrs.get("src") for attrs in content.named("script"))
        assert not content.named("style")
        assert not [name for _, attrs in content.tags for name in attrs if name == "style" or name.startswith("on")]

    def test_links_only_to_existing_paths_of_this_host(self, client: FlaskClient, path: str) -> None:
        for address in page(client, path).addresses():
            assert address.startswith(("/", "#", "?")), address
            if address.startswith("/"):
                assert client.get(address, follow_redirects=True).status_code == 200, address

    def test_texts_of_users_and_models_are_escaped(self, client: FlaskClient, path: str) -> None:
        html = client.get(path).get_data(as_text=True)
        assert SCRIPT not in html
        if path not in ("/", "/ask"):
            assert SCRIPT in Page(html).text

    def test_has_landmarks_one_h1_and_unique_ids(self, client: FlaskClient, path: str) -> None:
        content = page(client, path)
        assert [len(content.named(tag)) for tag in ("h1", "main", "footer")] == [1, 1, 1]
        ids = [attrs["id"] for _, attrs in content.tags if attrs.get("id")]
        assert len(ids) == len(set(ids))
        for _, attrs in content.tags:
            assert attrs.get("aria-labelledby") in {None, *ids}
            assert attrs.get("for") in {None, *ids}

    def test_is_in_the_language_of_the_browser(self, client: FlaskClient, path: str) -> None:
        spanish = page(client, path, headers={"Accept-Language": "es-ES,es;q=0.9"})
        assert spanish.named("html")[0]["lang"] == "es"
        assert "Resumen" in spanish.text
        assert page(client, path, headers={"Accept-Language": "fr"}).named("html")[0]["lang"] == "en"

    def test_keeps_the_chosen_language(self, client: FlaskClient, path: str) -> None:
        reply = client.get(path, query_string={"lang": "es"})
        cookie = reply.headers["Set-Cookie"]
        assert "language=es" in cookie
        assert "SameSite=Lax" in cookie
        assert page(client, path).named("html")[0]["lang"] == "es"

    def test_keeps_the_chosen_theme(self, client: FlaskClient, path: str) -> None:
        assert page(client, path).named("html")[0]["data-theme"] == "auto"
        client.set_cookie("theme", "dark")
        assert page(client, path).named("html")[0]["data-theme"] == "dark"
        client.set_cookie("theme", "pink")
        assert page(client, path).named("html")[0]["data-theme"] == "auto"

    def test_marks_the_current_page_in_the_navigation(self, client: FlaskClient, path: str) -> None:
        current = [attrs["href"] for attrs in page(client, path).named("a") if attrs.get("aria-current") == "page"]
        assert current == ["/questions" if path == QUESTION else path]


def test_policy_allows_own_files_only(client: FlaskClient) -> None:
    headers = client.get("/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [*PAGES, "/api/statistics", "/api/nothing", "/health", "/openapi.json"])
def test_all_paths_except_the_documentation_have_the_strict_policy(client: FlaskClient, path: str) -> None:
    assert client.get(path).headers["Content-Security-Policy"] == client.get("/").headers["Content-Security-Policy"]


def test_swagger_ui_may_run_its_inline_script(client: FlaskClient) -> None:
    assert "script-src 'self' 'unsafe-inline'" in client.get("/docs/swagger").headers["Content-Security-Policy"]


def test_versioned_assets_are_cached_for_a_year(client: FlaskClient) -> None:
    content = page(client, "/")
    found = [address for address in content.addresses() if address.startswith("/assets/")]
    # Modules import each other by names without a version, so that browsers revalidate them.
    modules = {attrs["href"] or "" for attrs in content.named("link") if attrs["rel"] == "modulepreload"}
    assert {Path(address).name for address in modules} == {
        "core.js",
        "format.js",
        "charts.js",
        "picture.js",
        "whatif.js",
    }
    found = [address for address in found if address not in modules]
    assert {Path(address.split("?")[0]).name for address in found} == {
        "dashboard.css",
        "icon.svg",
        "overview.js",
        "page.js",
        "plotly.css",
        "plotly.min.js",
        "texts.en.js",
    }
    for address in found:
        assert re.fullmatch(r"/assets/[\w.]+\?v=[0-9a-f]{12}", address)
        assert client.get(address).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get("/assets/core.js").headers["Cache-Control"] == "no-cache"
    assert client.get("/assets/nothing.js?v=1").headers["Cache-Control"] == "no-store"
    assert client.get("/assets/texts.xx.js").status_code == 404


def test_plotly_is_compressed_for_clients_that_accept_gzip(client: FlaskClient) -> None:
    plain = client.get("/assets/plotly.min.js", headers={"Accept-Encoding": "identity"})
    small = client.get("/assets/plotly.min.js", headers={"Accept-Encoding": "gzip, br"})
    assert (plain.headers.get("Content-Encoding"), small.headers["Content-Encoding"]) == (None, "gzip")
    assert small.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(small.get_data()) == plain.get_data() == assets.plotly().read_bytes()
    assert len(small.get_data()) < len(plain.get_data()) / 2


def test_the_image_has_the_tested_version_of_plotly(client: FlaskClient) -> None:
    """Tests use the full bundle of the plotly package in place of the basic bundle in the image."""
    version = re.search(r"^ARG PLOTLY_JS=(.+)$", (STATIC.parent / "Dockerfile").read_text(), re.M)
    assert version
    assert f"v{version[1]}\n" in assets.plotly().read_text()[:100]
    drawn = [client.get(f"/api/figures/{name}").get_json() for name in get_args(FigureName)]
    kinds = {trace["type"] for each in drawn for trace in each["data"]}
    assert kinds == {"bar", "pie", "scatter"}  # the traces of the basic bundle


def test_the_overview_contains_its_numbers_and_loads_plotly_last(client: FlaskClient) -> None:
    scripts = page(client, "/").named("script")
    known = next(attrs["data-known"] for attrs in scripts if attrs.get("id") == "overview-script")
    assert json.loads(known or "")["statistics"]["questions"]["total"] == 12
    # Both run in this order after the whole document is parsed.
    assert [attrs.get("id") for attrs in scripts][-2:] == ["overview-script", "plotly"]
    assert (scripts[-2]["type"], "defer" in scripts[-1]) == ("module", True)


def test_the_overview_works_while_the_database_is_unavailable(unavailable_client: FlaskClient) -> None:
    reply = unavailable_client.get("/")
    assert reply.status_code == 200
    known = next(attrs for attrs in Page(reply.get_data(as_text=True)).named("script") if attrs.get("data-known"))
    assert json.loads(known["data-known"] or "")["statistics"] is None


def test_the_overview_has_every_element_that_its_module_uses(client: FlaskClient) -> None:
    used_ids = set(re.findall(r'\bat\("([\w-]+)"\)', (STATIC / "overview.js").read_text()))
    content = page(client, "/").tags
    assert {"alerts", "providers"} < used_ids
    assert used_ids - {attrs.get("id") for _, attrs in content} == set()
    # The part is hidden until there is a provider.
    assert next("hidden" in attrs for _, attrs in content if attrs.get("id") == "providers-part")


def test_alerts_about_limits_are_not_shown_as_failures() -> None:
    """Alerts about limits of the user or of a provider are amber, not red."""
    listed = re.search(r"TOLERABLE = new Set\(\[(.*?)\]\)", (STATIC / "overview.js").read_text())
    assert listed
    kinds = re.findall(r'"([\w-]+)"', listed[1])
    assert kinds == ["max-retries", "budget-used-up", "provider-limited"]
    assert set(kinds) <= set(get_args(Alert.model_fields["kind"].annotation))


def test_texts_never_become_markup() -> None:
    scripts = list(STATIC.glob("*.js"))
    assert len(scripts) >= 8
    for path in scripts:
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
        assert not re.search(forbidden, path.read_text()), path


def test_modules_import_existing_files() -> None:
    for path in STATIC.glob("*.js"):
        for name in re.findall(r'from "\./([\w.]+)"', path.read_text()):
            assert (STATIC / name).is_file(), f"{path.name}: {name}"


def test_the_page_contains_the_refresh_interval(client: FlaskClient) -> None:
    assert page(client, "/").named("body")[0]["data-refresh-seconds"] == str(VizSettings().viz_refresh_seconds)


def test_times_are_marked_for_conversion_to_the_local_time_zone(client: FlaskClient) -> None:
    times = page(client, QUESTION).named("time")
    assert len(times) >= 7
    assert times[0]["datetime"] == NOW.isoformat()


def test_the_status_of_a_question_is_shown(client: FlaskClient, rows: FakeQueries) -> None:
    assert page(client, QUESTION).named("article")[0]["data-status"] == "completed"
    rows.detail = question(status="pending", answer=None)
    content = page(client, QUESTION)
    assert content.named("article")[0]["data-status"] == "pending"
    assert "In flight. This page follows it" in content.text


@pytest.mark.parametrize(
    ("quality", "tone"), [("self_check_accepted", "accepted"), ("self_check_max_retries_reached", "below")]
)
def test_scores_of_a_self_check_are_not_coloured_by_the_threshold(
    client: FlaskClient, rows: FakeQueries, quality: str, tone: str
) -> None:
    answer = question().answer
    assert answer
    rows.detail = question(original_answer=None, answer=answer.model_copy(update={"quality": quality}))
    content = page(client, QUESTION)
    assert {attrs["class"] for attrs in content.named("span") if (attrs.get("class") or "").startswith("score")} == {
        "score"
    }
    steps = [(attrs.get("class") or "").split() for attrs in content.named("li")]
    assert [each for each in steps if each[0] == "attempt"] == [["attempt"], ["attempt"]]
    assert ["kept", tone] in steps
    assert "not on one scale" in content.text


@pytest.mark.parametrize(
    ("language", "texts", "tag"),
    [
        ("en", ("Reference 1", "Reference 2", "Reference 3"), "best match"),
        ("es", ("Referencia 1", "Referencia 2", "Referencia 3"), "la más parecida"),
    ],
)
def test_all_references_are_shown_and_the_one_that_counted_is_marked(
    client: FlaskClient, rows: FakeQueries, language: str, texts: tuple[str, ...], tag: str
) -> None:
    answer = question().answer
    assert answer
    rows.detail = question(
        references=(f"Second. {SCRIPT}", "Third."), answer=answer.model_copy(update={"reference_index": 1})
    )
    content = page(client, QUESTION, headers={"Accept-Language": language})
    shown = content.text[content.text.index(texts[0]) :]
    parts = [texts[0], "Because.", texts[1], tag, "Second.", texts[2], "Third."]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    assert shown.count(tag) == 1


def test_a_single_reference_is_neither_numbered_nor_marked(client: FlaskClient, rows: FakeQueries) -> None:
    answer = question().answer
    assert answer
    rows.detail = question(answer=answer.model_copy(update={"reference_index": 0}))
    content = page(client, QUESTION)
    assert "Because." in content.text
    assert "Reference 1" not in content.text
    assert "best match" not in content.text


def test_scores_with_a_reference_are_coloured_by_the_threshold(client: FlaskClient) -> None:
    content = page(client, QUESTION)
    steps = [(attrs.get("class") or "").split() for attrs in content.named("li")]
    assert [each for each in steps if each[0] in ("attempt", "kept")] == [
        ["attempt", "below"],
        ["attempt", "accepted"],
        ["kept", "accepted"],
    ]
    assert "not on one scale" not in content.text


@pytest.mark.parametrize(
    ("language", "reason", "warning"),
    [("en", "in a language that the scorer does not know", "repeats itself"), ("es", "un idioma", "se repite")],
)
def test_the_reason_of_an_unscored_answer_and_warnings_are_shown(
    client: FlaskClient, rows: FakeQueries, language: str, reason: str, warning: str
) -> None:
    answer = question().answer
    assert answer
    changes = {"quality": "unscored", "bert_score": None, "unscored_reason": "other_language"}
    rows.detail = question(answer=answer.model_copy(update=changes | {"warnings": ("repetition",)}))
    page = client.get(f"/questions/{KNOWN}", headers={"Accept-Language": language}).text
    assert reason in page
    assert warning in page


@pytest.mark.parametrize("language", ["en", "es"])
def test_each_reason_and_warning_has_a_text(language: str) -> None:
    texts = json.loads((LOCALES / f"{language}.json").read_text(encoding="utf-8"))
    names = {f"unscored.{each}" for each in ("no_reference", *get_args(UnscorableReason))}
    names |= {f"warning.{each}" for each in get_args(ScoreWarning)}
    assert names <= set(texts)


JUDGED = AttemptJudge(
    probability=0.25, problem="wrong", model="judge", prompt_tokens=91, completion_tokens=1, cost=None
)


def judged(quality: str, rejected_by: str | None, judge: Judge | None = JUDGED) -> QuestionDetail:
    """Returns a question whose two answers are above the threshold, and were judged; the second one is kept."""
    known = question()
    assert known.answer
    attempts = [each.model_copy(update={"bert_score": 0.6, "judge": judge}) for each in known.attempts]
    changes = {"quality": quality, "rejected_by": rejected_by, "judge": judge}
    return question(attempts=attempts, answer=known.answer.model_copy(update=changes))


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ("rejected by the judge", "Rejected by the judge", "0.25", "matters is probably false", "says judge")),
        ("es", ("rechazada por el juez", "Rechazada por el juez", "0,25", "es probablemente falso", "según judge")),
    ],
)
def test_what_the_judge_says_about_a_rejected_answer_is_shown(
    client: FlaskClient, rows: FakeQueries, language: str, texts: tuple[str, ...]
) -> None:
    rows.detail = judged("max_retries_reached", "judge")
    content = page(client, QUESTION, headers={"Accept-Language": language})
    assert [text for text in texts if text not in content.text] == []
    assert "91 + 1 tokens" in content.text


def test_an_answer_that_the_judge_refuses_to_judge_has_no_probability(client: FlaskClient, rows: FakeQueries) -> None:
    refused = JUDGED.model_copy(update={"probability": None, "problem": "refused"})
    rows.detail = judged("max_retries_reached", "judge", refused)
    assert "the judge refused to judge this answer" in page(client, QUESTION).text


def test_an_answer_rejected_by_its_score_says_so(client: FlaskClient, rows: FakeQueries) -> None:
    rows.detail = judged("max_retries_reached", "score", None)
    content = page(client, QUESTION).text
    assert "Rejected by its score" in content
    assert "judge" not in content.lower()


def test_a_rejected_answer_of_an_older_version_has_no_reason(client: FlaskClient, rows: FakeQueries) -> None:
    rows.detail = judged("max_retries_reached", None, None)
    assert "Rejected" not in page(client, QUESTION).text


@pytest.mark.parametrize(
    ("judge", "said", "unsaid"),
    [(JUDGED, "the judge agreed", "No judge was asked"), (None, "may be fluent and wrong", "the judge agreed")],
)
def test_an_accepted_answer_says_whether_a_judge_agreed(
    client: FlaskClient, rows: FakeQueries, judge: AttemptJudge | None, said: str, unsaid: str
) -> None:
    rows.detail = judged("accepted", None, judge)
    content = page(client, QUESTION).text
    assert said in content
    assert unsaid not in content


@pytest.mark.parametrize(
    ("detail", "tones"),
    [
        (judged("accepted", None), ["below", "accepted"]),
        (judged("max_retries_reached", "judge"), ["below", "below"]),
        (judged("accepted", None, None), ["accepted", "accepted"]),
        (judged("accepted", None).model_copy(update={"answer": None, "status": "pending"}), ["below", "below"]),
    ],
)
def test_attempts_that_the_judge_rejected_are_marked_in_the_history(
    client: FlaskClient, rows: FakeQueries, detail: QuestionDetail, tones: list[str]
) -> None:
    rows.detail = detail
    steps = [(attrs.get("class") or "").split() for attrs in page(client, QUESTION).named("li")]
    assert [each[1] for each in steps if each[0] == "attempt"] == tones


def test_the_list_says_which_answers_the_judge_rejected(client: FlaskClient, rows: FakeQueries) -> None:
    assert "rejected by the judge" not in page(client, "/questions").text
    rows.changes = {"quality": "max_retries_reached", "rejected_by": "judge"}
    assert "rejected by the judge" in page(client, "/questions").text


@pytest.mark.parametrize("language", ["en", "es"])
def test_each_problem_and_rejection_has_a_text(language: str) -> None:
    texts = json.loads((LOCALES / f"{language}.json").read_text(encoding="utf-8"))
    names = {f"judge.{each}" for each in get_args(JudgeProblem)}
    names |= {f"outcome.rejected.{each}" for each in get_args(RejectedBy)}
    assert names <= set(texts)


def test_known_costs_are_shown(client: FlaskClient, rows: FakeQueries) -> None:
    """One attempt has a cost and the other none; the total includes a failed call."""
    assert re.findall(r"cost ([\d.]+)", page(client, QUESTION).text) == ["0.000118", "0.000237"]
    unpriced = [each.model_copy(update={"cost": None}) for each in question().attempts]
    rows.detail = question(attempts=unpriced, usage=Usage(prompt_tokens=130, completion_tokens=80, cost=None))
    content = page(client, QUESTION).text
    assert "130 + 80 tokens" in content
    assert "cost" not in content


def test_tokens_and_cost_of_a_failed_call_are_shown(client: FlaskClient, rows: FakeQueries) -> None:
    assert "31 + 0 tokens" not in page(client, QUESTION).text
    refused = question().errors[0].model_copy(update={"prompt_tokens": 31, "cost": Decimal("0.0000124")})
    rows.detail = question(attempts=[], errors=[refused], usage=None)
    content = page(client, QUESTION).text
    assert "31 + 0 tokens" in content
    assert "cost 0.0000124" in content


def uncharged(**changes: Any) -> ErrorRecord:
    """Returns a call that the provider has rejected three times."""
    refused = {"cause": "rate_limit", "type": "quota", "times": 3, "counts_as_retry": False}
    return question().errors[0].model_copy(update=refused | changes)


def test_failed_calls_are_shown_with_cause_number_and_retries(client: FlaskClient, rows: FakeQueries) -> None:
    content = page(client, QUESTION).text
    for text in (
        "rate limit",
        "another cause",
        "the last one is shown",
        "no retry was used up",
        "Due to be asked again",
    ):
        assert text not in content, text
    assert "Due for retry 1" in content
    rows.detail = question(attempts=[], errors=[uncharged()])
    content = page(client, QUESTION).text
    for text in ("rate limit", "3 calls, the last one is shown", "no retry was used up", "Due to be asked again"):
        assert text in content, text
    assert "Due for retry" not in content
    rows.detail = question(status="pending", answer=None, attempts=[], errors=[uncharged(due_at=FAR)])
    assert "Waits for the provider, due" in page(client, QUESTION).text
    rows.detail = question(status="pending", answer=None, attempts=[], errors=[uncharged(due_at=FAR, times=1234)])
    spanish = page(client, QUESTION, headers={"Accept-Language": "es"}).text
    assert "1234 llamadas, se muestra la última" in spanish
    assert "límite de ritmo" in spanish


def test_reasoning_tokens_of_an_attempt_are_shown(client: FlaskClient, rows: FakeQueries) -> None:
    assert "for reasoning" not in page(client, QUESTION).text
    rows.detail = question(
        attempts=[each.model_copy(update={"reasoning_tokens": 32}) for each in question().attempts[:1]]
    )
    assert page(client, QUESTION).text.count("32 of them for reasoning") == 1


def test_each_quality_has_the_colour_of_its_outcome() -> None:
    css = (STATIC / "dashboard.css").read_text()
    for quality, colour in (
        *((each, "accepted") for each in ("accepted", "self_check_accepted")),
        *((each, "below-text") for each in ("max_retries_reached", "self_check_max_retries_reached")),
    ):
        assert re.search(rf"\.tag:is\([^)]*\.{quality}\b[^)]*\) {{ color: var\(--{colour}\)", css), quality


def test_a_pending_question_shows_errors_that_are_only_on_kafka(rows: FakeQueries) -> None:
    rows.detail = question(status="pending", answer=None, attempts=[], errors=[])
    earlier = waiting_error(message="an earlier life", failed_at=NOW - timedelta(hours=1))
    errors = [waiting_error(message="on its way"), waiting_error(message="another", question_id=UNKNOWN), earlier]
    content = page(client_for(rows, state=FakeState(Sample(at=0, taken_at=NOW, errors=errors))), QUESTION)
    assert "on its way" in content.text
    assert "another" not in content.text
    assert "an earlier life" not in content.text


def test_only_the_last_of_the_calls_that_used_no_retry_is_shown(rows: FakeQueries) -> None:
    def content(times_known: int, times_on_its_way: int) -> str:
        known = uncharged(attempt=1, retry=0, times=times_known, message="of the database", due_at=None)
        rows.detail = question(status="pending", answer=None, attempts=[], errors=[known])
        news = waiting_error(times=times_on_its_way, counts_as_retry=False, message="on its way", due_at=FAR)
        return page(client_for(rows, state=FakeState(Sample(at=0, taken_at=NOW, errors=[news]))), QUESTION).text

    later, older = content(2, 3), content(3, 3)
    assert ("on its way" in later, "of the database" in later) == (True, False)
    assert ("on its way" in older, "of the database" in older) == (False, True)


def test_a_question_that_waited_too_long_shows_this_reason(
    client: FlaskClient, rows: FakeQueries, storage: FakeStorage
) -> None:
    failure = Failure(reason="patience_exhausted", retry_count=0, last_error="quota 429: tomorrow", failed_at=NOW)
    rows.detail = question(status="failed", answer=None, attempts=[], failure=failure)
    storage.rows[0]["reason"] = "patience_exhausted"
    for path in (QUESTION, "/failed"):
        assert "waited too long for the provider" in page(client, path).text
        spanish = page(client, path, headers={"Accept-Language": "es"}).text
        assert "esperó demasiado al proveedor" in spanish


def test_failed_questions_are_filtered_by_every_reason(client: FlaskClient, storage: FakeStorage) -> None:
    options = [attrs["value"] for attrs in page(client, "/failed").named("option")]
    assert options == ["", *get_args(Reason)]
    storage.called.clear()
    assert client.get("/failed?reason=patience_exhausted").status_code == 200
    assert storage.called[0][1]["reason"] == "patience_exhausted"


def test_a_failed_question_shows_its_error(client: FlaskClient, rows: FakeQueries) -> None:
    failure = Failure(reason="not_retryable", retry_count=0, last_error=f"401 {SCRIPT}", failed_at=NOW)
    rows.detail = question(status="failed", answer=None, attempts=[], failure=failure)
    html = client.get(QUESTION).get_data(as_text=True)
    assert SCRIPT not in html
    assert f"401 {SCRIPT}" in Page(html).text


@pytest.mark.parametrize("path", [f"/questions/{UNKNOWN}", "/questions/nothing"])
def test_an_unknown_question_is_a_404_page(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.mimetype) == (404, "text/html")


@pytest.mark.parametrize("path", ["/questions", QUESTION, "/dead-letters"])
def test_pages_are_503_while_the_database_is_unavailable(unavailable_client: FlaskClient, path: str) -> None:
    reply = unavailable_client.get(path)
    assert (reply.status_code, reply.mimetype) == (503, "text/html")
    assert "PostgreSQL: connection refused" in reply.get_data(as_text=True)


def test_the_failed_page_is_503_while_storage_service_is_unavailable() -> None:
    reply = client_for(FakeQueries(), FakeStorage(unavailable=True)).get("/failed")
    assert (reply.status_code, reply.mimetype) == (503, "text/html")


def test_empty_lists_show_a_message(empty_client: FlaskClient) -> None:
    assert "Nobody has asked anything yet." in page(empty_client, "/questions").text
    assert "No question matches." in page(empty_client, "/questions?text=x").text


def test_a_dead_letter_is_shown_with_source_reason_question_and_button(client: FlaskClient) -> None:
    content = page(client, "/dead-letters")
    for text in (
        "llm-responses-success",
        "partition 2, offset 1805",
        "unreadable message",
        f"not JSON {SCRIPT}",
        "26 bytes",
        f"{{{SCRIPT}",
    ):
        assert text in content.text, text
    assert QUESTION in [attrs["href"] for attrs in content.named("a")]
    assert [attrs["data-replay"] for attrs in content.named("button") if "data-replay" in attrs] == ["7"]


def test_a_dead_letter_without_a_source_shows_its_own_offset(client: FlaskClient, rows: FakeQueries) -> None:
    rows.letters = [letter(source_topic=None, source_partition=None, source_offset=None)]
    content = page(client, "/dead-letters").text
    assert "llm-responses-error-permanent" in content
    assert "partition 0, offset 41" in content


def test_a_dead_letter_without_a_known_question_has_no_link(client: FlaskClient, rows: FakeQueries) -> None:
    rows.letters = [letter(question_text=None)]
    assert QUESTION not in [attrs["href"] for attrs in page(client, "/dead-letters").named("a")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"replayed_at": NOW + timedelta(hours=1)}, "2026-03-04 13:30:00 UTC"),
        ({"value_bytes": 100_000}, "26 bytes are kept: it cannot be replayed"),
        ({"value_bytes": None, "kept_bytes": None, "preview": None}, "no bytes are kept"),
    ],
)
def test_a_dead_letter_that_cannot_be_replayed_has_no_button(
    client: FlaskClient, rows: FakeQueries, changes: dict[str, Any], expected: str
) -> None:
    rows.letters = [letter(**changes)]
    content = page(client, "/dead-letters")
    assert expected in content.text
    assert not [attrs for attrs in content.named("button") if "data-replay" in attrs]


def test_a_nul_in_a_dead_letter_is_shown_as_a_replacement_character(client: FlaskClient, rows: FakeQueries) -> None:
    rows.letters = [letter(preview="a\x00b</code><b>")]
    html = client.get("/dead-letters").get_data(as_text=True)
    assert "a\ufffdb&lt;/code&gt;&lt;b&gt;" in html


def test_dead_letters_are_paged(client: FlaskClient, rows: FakeQueries) -> None:
    links = [attrs["href"] for attrs in page(client, "/dead-letters?page=2").named("a")]
    assert "/dead-letters?page=1" in links
    assert "/dead-letters?page=3&after=2026-03-04T12%3A30%3A00%2B00%3A00~7" in links
    rows.letters = []
    assert "No message was rejected." in page(client, "/dead-letters").text


def test_an_invalid_page_of_dead_letters_is_422_and_ignored(client: FlaskClient, rows: FakeQueries) -> None:
    reply = client.get("/dead-letters?after=yesterday")
    assert reply.status_code == 422
    assert "after" in Page(reply.get_data(as_text=True)).text
    assert rows.calls[-1][1].after is None


def test_an_empty_list_of_failed_questions_shows_a_message(storage: FakeStorage, client: FlaskClient) -> None:
    storage.rows = []
    assert "No question has failed." in page(client, "/failed").text
    assert "No failed question matches." in page(client, "/failed?reason=malformed").text


def test_an_invalid_filter_is_422_and_ignored(client: FlaskClient, rows: FakeQueries) -> None:
    reply = client.get("/questions?score_min=high")
    assert reply.status_code == 422
    assert "score_min" in Page(reply.get_data(as_text=True)).text
    assert rows.calls[-1][1].score_min is None


def test_links_to_pages_and_export_keep_the_filter(client: FlaskClient) -> None:
    links = [attrs["href"] or "" for attrs in page(client, "/questions?text=a%26b&sort=worst&page=2").named("a")]
    assert "/questions.csv?text=a%26b&sort=worst" in links
    assert "/questions?text=a%26b&sort=worst&page=3" in links
    assert "/questions?text=a%26b&sort=worst&page=1" in links


def test_questions_are_filtered_by_topic(client: FlaskClient, rows: FakeQueries) -> None:
    content = page(client, "/questions?topic=health+%26+sport")
    chosen = [attrs["value"] for attrs in content.named("option") if "selected" in attrs]
    assert "health & sport" in chosen
    assert rows.calls[-1][1].topic == "health & sport"
    assert "/questions.csv?topic=health+%26+sport" in [attrs["href"] for attrs in content.named("a")]


def test_the_chosen_topic_stays_in_the_filter_even_if_no_question_has_it(
    client: FlaskClient, empty_client: FlaskClient
) -> None:
    options = [attrs["value"] for attrs in page(client, "/questions?topic=art").named("option")]
    assert {"art", "health & sport", "science"} <= set(options)
    assert "topic" not in {attrs["name"] for attrs in page(empty_client, "/questions").named("select")}


def test_the_filter_of_failed_questions_is_passed_to_storage_service(client: FlaskClient, storage: FakeStorage) -> None:
    client.get("/failed?reason=malformed&text=why&page=2")
    assert storage.called == [("failed", {"reason": "malformed", "text": "why", "limit": 25, "offset": 25})]


def test_the_page_has_the_style_elements_that_plotly_looks_for(client: FlaskClient) -> None:
    """Plotly inserts missing <style> elements, which the policy forbids; a new version may need others."""
    bundle = assets.plotly().read_text()
    inserted = set(re.findall(r'\w\.id="([0-9a-f]{64})"', bundle)) | {"plotly.js-style-global"}
    assert bundle.count('createElement("style")') == len(inserted)
    assert ".no-inline-styles" in bundle
    links = {attrs["id"]: attrs for attrs in page(client, "/").named("link") if attrs.get("id")}
    assert set(links) == inserted
    assert links["plotly.js-style-global"]["class"] == "no-inline-styles"


def test_the_copied_plotly_styles_equal_those_of_the_bundle() -> None:
    bundle = re.sub(r"\s", "", assets.plotly().read_text())
    rules = re.findall(r"^\.js-plotly-plot \.plotly (\S[^{]*?) \{ (.*) \}$", (STATIC / "plotly.css").read_text(), re.M)
    assert len(rules) > 5
    for selector, declarations in rules:
        found = re.search(rf'"X{re.escape(selector.replace(" ", ""))}":["\']([^"\']*)', bundle)
        assert found, selector
        for declaration in declarations.replace(" ", "").split(";"):
            assert declaration in found.group(1), f"{selector}: {declaration}"


def test_pages_and_charts_have_the_same_colours() -> None:
    css = (STATIC / "dashboard.css").read_text()
    tokens = {name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", css)}
    for column, theme in enumerate(("light", "dark")):
        palette = figures.PALETTES[theme]  # type: ignore[index]
        for name in ("text", "muted", "surface", "accepted", "below"):
            assert tokens[name][column] == getattr(palette, name), (theme, name)


def test_every_colour_is_defined_once_with_its_dark_variant() -> None:
    css = re.sub(r"/\*.*?\*/", "", (STATIC / "dashboard.css").read_text(), flags=re.S)
    root = re.search(r":root \{(.*?)\}", css, re.S)
    assert root
    assert len(re.findall(r"light-dark\(", root[1])) > 15
    assert re.findall(r"#[0-9a-f]{3,8}\b", css.replace(root[0], "")) == []
