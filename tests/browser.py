"""Opens the dashboard in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

DASHBOARD = "http://reverse-proxy:5002"
_CHROMIUM = "/usr/bin/chromium"
_MARKS = {
    "score-ranges": ".point",
    "attempts": ".slice",
    "score-histogram": ".point",
    "improvement": ".point",
    "score-timeseries": ".point, .js-line",
}
"""Selectors of the elements that Plotly draws for the data of each chart of the overview."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Starts Debian's Chromium in headless mode."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def await_charts(page: Page, seconds: float = 45) -> None:
    """Waits until all charts of the overview show data."""
    # wait_for_function would evaluate text in the page, which the page's policy forbids.
    for name, mark in _MARKS.items():
        page.locator(f'[data-figure="{name}"] .plot {mark}').first.wait_for(state="attached", timeout=seconds * 1000)
