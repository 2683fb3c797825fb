"""The dashboard in a real browser."""

from pathlib import Path

import pytest
import requests
from playwright.sync_api import sync_playwright

DASHBOARD = "http://viz-service:5002"
ARTIFACTS = Path(__file__).parents[1] / "artifacts"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", autouse=True)
def answered(fleet):
    """There is something to see."""
    fleet.finish(fleet.ask("What is shown on a dashboard?", "A dashboard shows figures.", wait=1).json()["question_id"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_shows_its_charts(browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems, requested = [], []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(DASHBOARD)
    # Not wait_for_function: it evaluates text in the page, which the page's policy forbids.
    page.locator(".js-plotly-plot:has(.main-svg)").nth(4).wait_for(state="attached", timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"dashboard-{width}-{scheme}.png", full_page=True)
    page.close()
    assert problems == []
    assert [url for url in requested if not url.startswith((DASHBOARD, "data:", "blob:"))] == []


@pytest.mark.parametrize(
    "path",
    ["statistics", "scores/timeseries", "scores/histogram", "quality/improvement", "questions/top"],
)
def test_each_endpoint_has_data(path):
    reply = requests.get(f"{DASHBOARD}/api/{path}", timeout=15)
    assert reply.status_code == 200
    assert reply.json()


def test_figures_agree_with_the_database(fleet):
    statistics = requests.get(f"{DASHBOARD}/api/statistics", timeout=15).json()
    [row] = fleet.sql("SELECT count(*) AS completed FROM questions WHERE status = 'completed'")
    assert abs(statistics["questions"]["completed"] - row["completed"]) <= 2
