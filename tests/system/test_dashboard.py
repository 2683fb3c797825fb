"""The dashboard in a real browser, against the running fleet."""

import csv
import io
import itertools
from pathlib import Path

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from pipeline import topics
from tests.browser import DASHBOARD, await_charts, chromium
from tests.fleet import STORAGE, eventually
from tests.scripted_provider import refusal

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
PAGES = {
    "overview": "/",
    "questions": "/questions",
    "question": None,
    "ask": "/ask",
    "failed": "/failed",
    "dead-letters": "/dead-letters",
}
HOSTILE = (
    "Light scatters. <script>document.title = 'broken'</script>"
    '<img src="/nothing" onerror="document.title = \'broken\'"> <b>Blue</b> light scatters most.'
)
TRAFFIC = {
    "What is shown on a dashboard?": "A dashboard shows figures about a system, such as counts and charts.",
    "Why do people measure quality?": "People measure quality to find out whether something is good enough.",
    "What does a queue do?": "A queue keeps work in order until somebody has time for it.",
    "Why does a question need a reference answer?": None,
}


class Watched:
    """A page that records its errors and its requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def open(self, path: str) -> Page:
        self.page.goto(DASHBOARD + path)
        return self.page

    def check(self) -> None:
        assert self.problems == []
        assert [url for url in self.requested if not url.startswith((DASHBOARD, "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser):
    """Returns a function that opens a window with a watched page; all windows are closed after the test."""
    contexts = []

    def visit(width=1440, scheme="light"):
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, locale="en-GB")
        )
        return Watched(contexts[-1].new_page())

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def watched(visit):
    return visit()


@pytest.fixture(scope="module", autouse=True)
def answered(fleet):
    """Asks real questions, waits until they are answered and scored, and returns the id of one."""
    ids = [fleet.ask(text, reference).json()["question_id"] for text, reference in TRAFFIC.items()]
    for question_id in ids:
        fleet.finish(question_id)
    return ids[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_complete_accessible_and_loads_nothing_external(visit, answered, name, width, scheme):
    watched = visit(width, scheme)
    page = watched.open(PAGES[name] or f"/questions/{answered}")
    if name == "overview":
        await_charts(page)
        expect(page.locator("#picture svg")).to_be_visible()
        expect(page.locator("#what-if-outcomes dd").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls horizontally"
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"dashboard-{name}-{width}-{scheme}.png", full_page=True)
    violations = Axe().run(page).response["violations"]
    grave = [(each["id"], each["nodes"][0]["html"]) for each in violations if each["impact"] in ("serious", "critical")]
    assert grave == []
    watched.check()


def test_time_labels_do_not_overlap_on_a_narrow_screen(visit):
    watched = visit(width=360)
    page = watched.open("/")
    await_charts(page)
    ticks = page.locator('[data-figure="score-timeseries"] .xtick text')
    labels = sorted((each["x"], each["x"] + each["width"]) for each in (tick.bounding_box() for tick in ticks.all()))
    assert labels
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(labels))
    watched.check()


def test_the_range_changes_the_charts_and_pause_stops_the_refresh(watched):
    page = watched.open("/")
    await_charts(page)
    wider = "/api/figures/score-timeseries"
    with page.expect_response(lambda reply: wider in reply.url and "hours=168" in reply.url):
        page.get_by_label("7 days").check()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_have_text("Paused")
    with page.expect_response("**/api/overview"):
        page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("Live")
    watched.check()


def test_the_what_if_slider_changes_the_numbers(watched):
    page = watched.open("/")
    outcomes, slider = page.locator("#what-if-outcomes"), page.locator("#threshold")
    expect(outcomes.locator("dd").first).to_be_visible(timeout=45_000)
    slider.fill("0")
    expect(page.locator("#threshold-value")).to_have_text("0.00")
    at_0 = requests.get(f"{DASHBOARD}/api/what-if", {"threshold": 0}, timeout=15).json()
    expect(outcomes.locator("div").first.locator(".note")).to_have_text(f"{at_0['passed'][0]:,}")
    slider.fill("1")
    expect(page.locator("#threshold-value")).to_have_text("1.00")
    at_1 = requests.get(f"{DASHBOARD}/api/what-if", {"threshold": 1}, timeout=15).json()
    expect(outcomes.locator("div").first.locator(".note")).to_have_text(f"{at_1['passed'][0]:,}")
    assert at_1["passed"][0] < at_0["passed"][0]
    assert at_1["questions"] > 0
    watched.check()


def test_a_question_asked_in_the_form_is_shown_until_its_answer(watched, fleet, unique):
    page = watched.open("/ask")
    question = unique("Why is the sky blue?")
    page.get_by_label("Question").fill(question)
    page.get_by_label("Reference answer").fill("Air scatters blue light more than red light.")
    page.get_by_role("button", name="Ask", exact=True).click()
    followed = page.locator("#followed [data-live=question]")
    expect(followed.locator("h1")).to_have_text(question, timeout=20_000)
    expect(followed).to_have_attribute("data-status", "completed", timeout=180_000)
    known = fleet.status(followed.get_attribute("data-question-id"))
    assert followed.locator(".answer blockquote").text_content() == known["result"]["llm_response"]
    attempts = known["result"]["processing_attempts"]
    expect(followed.locator(".timeline li.attempt")).to_have_count(attempts)
    expect(followed.locator(".timeline li").last).to_contain_text("Kept")
    watched.check()


def test_questions_can_be_searched_filtered_and_exported(watched, answered, fleet):
    page = watched.open("/questions")
    page.get_by_label("Search").fill("shown on a DASHBOARD")
    page.get_by_label("State").select_option("completed")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".count")).to_contain_text("question")
    texts = page.locator("tbody th").all_text_contents()
    assert texts
    assert all("shown on a dashboard" in text.lower() for text in texts)
    address = page.get_by_role("link", name="Export CSV").get_attribute("href")
    reply = requests.get(DASHBOARD + address, timeout=15)
    assert reply.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert answered in [row["question_id"] for row in rows]
    page.locator("tbody th a").first.click()
    expect(page.locator(".timeline li").first).to_contain_text("Asked")
    watched.check()


def test_questions_are_found_by_their_topic(watched, fleet, unique):
    topic, question = unique("Topic"), unique("What is this about?")
    reply = requests.post(f"{STORAGE}/query", json={"question_text": question, "topic": topic}, timeout=15)
    assert reply.status_code == 202
    page = watched.open("/questions")
    page.get_by_label("Topic").select_option(topic)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody th")).to_have_count(1)
    expect(page.locator("tbody th")).to_contain_text(question)
    watched.check()


def test_the_pages_are_in_spanish_for_a_spanish_browser(browser):
    context = browser.new_context(locale="es-ES")
    watched = Watched(context.new_page())
    page = watched.open("/questions")
    expect(page.locator("h1")).to_have_text("Preguntas")
    page.get_by_role("link", name="EN", exact=True).click()
    expect(page.locator("h1")).to_have_text("Questions")
    page.get_by_role("link", name="Ask", exact=True).click()
    expect(page.locator("h1")).to_have_text("Ask the fleet")
    watched.check()
    context.close()


def test_the_chosen_theme_is_kept(watched):
    page = watched.open("/questions")
    for expected in ("light", "dark"):
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", expected)
    watched.open("/failed")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize(
    "path",
    ["statistics", "scores/timeseries", "scores/histogram", "quality/improvement", "questions/top", "questions"],
)
def test_each_endpoint_has_data(path):
    reply = requests.get(f"{DASHBOARD}/api/{path}", timeout=15)
    assert reply.status_code == 200
    assert reply.json()


def test_figures_agree_with_the_database(fleet):
    statistics = requests.get(f"{DASHBOARD}/api/statistics", timeout=15).json()
    [row] = fleet.sql("SELECT count(*) AS completed FROM questions WHERE status = 'completed'")
    assert abs(statistics["questions"]["completed"] - row["completed"]) <= 2


def test_the_pipeline_of_a_healthy_fleet_has_no_gaps():
    def complete_state():
        state = requests.get(f"{DASHBOARD}/api/pipeline", timeout=15).json()
        assert state["kafka_error"] is None
        assert {each["name"] for each in state["topics"]} == {each.name for each in topics.ALL}
        assert all(each["messages"] is not None for each in state["topics"])
        assert all(each["lag"] is not None for each in state["topics"] if each["group"])
        assert all(each["rate"] is not None for each in state["topics"])
        members = {each["name"]: each["members"] for each in state["groups"]}
        assert members["llm-consumer"] >= 1
        assert members["storage-writer"] >= 1
        assert state["flink"]["working"]
        assert [each for each in state["services"] if not each["healthy"]] == []
        assert state["cache_hit_rate"] is not None
        return state

    state = eventually(complete_state, "the pipeline is complete", 90, interval=2)
    assert {each["name"] for each in state["services"]} >= {"storage-service", "llm-consumer", "score-validator"}


def test_a_stopped_service_raises_an_alert(watched, fleet):
    page = watched.open("/")
    container = fleet.container("retry-quota-consumer")
    container.stop(timeout=15)
    try:
        alert = page.locator("#alerts li", has_text="retry-quota-consumer")
        expect(alert).to_be_visible(timeout=60_000)
    finally:
        container.start()
        fleet.wait_healthy("retry-quota-consumer")
    expect(alert).to_have_count(0, timeout=60_000)


def test_the_dashboard_has_a_read_only_role(fleet):
    [rights] = fleet.sql(
        "SELECT bool_and(has_table_privilege('reader', oid, 'SELECT')) AS reads, "
        "bool_or(has_table_privilege('reader', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS writes "
        "FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
    )
    assert rights == {"reads": True, "writes": False}
    users = fleet.sql("SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'viz-service'")
    assert [each["usename"] for each in users] == ["reader"]


def test_pages_of_other_origins_cannot_ask(unique):
    body = {"question_text": unique("Who asks?")}
    elsewhere = {"Origin": "http://elsewhere.example", "X-Requested-With": "askfleet"}
    assert requests.post(f"{DASHBOARD}/api/ask", json=body, timeout=15).status_code == 403
    assert requests.post(f"{DASHBOARD}/api/ask", json=body, headers=elsewhere, timeout=15).status_code == 403


def test_a_script_in_an_answer_is_shown_as_text(watched, scripted, fleet, unique):
    question = unique("Why is <b>the sky</b> blue?")
    scripted.script(question, HOSTILE)
    question_id = fleet.ask(question).json()["question_id"]
    answer = fleet.finish(question_id)["result"]["llm_response"]
    assert "<script>" in answer
    page = watched.open(f"/questions/{question_id}")
    assert page.locator(".answer blockquote").text_content() == answer
    expect(page.locator("h1")).to_have_text(question)
    assert page.locator("main script, main img").count() == 0
    assert "broken" not in page.title()
    watched.open("/questions")
    expect(page.get_by_role("link", name=question)).to_be_visible()
    watched.check()


def test_a_failed_question_is_listed_and_retried(watched, scripted, fleet, unique):
    question = unique("Why did it fail?")
    refused = '{"error": {"message": "wrong key", "type": "authentication_error"}}'
    scripted.script(question, refusal(401, refused), "It was refused at first.")
    question_id = fleet.ask(question).json()["question_id"]
    assert fleet.finish(question_id)["status"] == "failed"
    page = watched.open("/failed?reason=not_retryable")
    row = page.locator("tbody tr", has_text=question)
    expect(row).to_contain_text("a retry would not help")
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.locator("#retried")).to_contain_text("1 question is asked again.")
    expect(row).to_have_count(0)
    assert fleet.finish(question_id)["status"] == "completed"
    watched.check()


def test_an_unreadable_message_is_listed_as_text_and_replayed(watched, fleet):
    value = b"{not json <b>x</b>"
    place = (topics.QUESTIONS_PENDING, *fleet.produce(topics.QUESTIONS_PENDING, b"unreadable", value))

    def listed():
        found = requests.get(f"{DASHBOARD}/api/dead-letters", {"limit": 100}, timeout=15).json()["dead_letters"]
        source = ("source_topic", "source_partition", "source_offset")
        return next((each for each in found if tuple(each[name] for name in source) == place), None)

    letter = eventually(listed, "the dead letter is listed", 60)
    assert (letter["preview"], letter["value_bytes"], letter["reason"]) == (value.decode(), len(value), "malformed")
    page = watched.open("/")
    page.get_by_role("link", name="Dead letters", exact=True).click()
    button = page.locator(f'[data-replay="{letter["id"]}"]')
    row = page.locator("tbody tr", has=button)
    expect(row.locator("code")).to_have_text(value.decode())
    expect(row.locator("b")).to_have_count(0)
    expect(row).to_contain_text("unreadable message")
    button.click()
    expect(page.locator("#replayed")).to_have_text("The message was written to its topic again.", timeout=15_000)
    expect(button).to_have_count(0)
    watched.check()
