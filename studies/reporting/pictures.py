"""A plotly figure as a picture, drawn by the Chromium of the tests' image."""

import importlib
from typing import Any

CHROMIUM = "/usr/bin/chromium"


def require() -> None:
    """Finds out before the work whether its figures can be drawn after it.

    Raises:
        ImportError: A package is missing: only the tests' image has them.
    """
    for name in ("plotly", "playwright"):
        importlib.import_module(name)


def png(figure: Any) -> bytes:
    """Draws a figure that has a width and a height in its layout.

    Raises:
        ImportError: A package is missing, see `require`.
    """
    from playwright.sync_api import sync_playwright

    width, height = figure.layout.width, figure.layout.height
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": width + 40, "height": height + 60})
        page.set_content(figure.to_html(include_plotlyjs=True, config={"staticPlot": True}))
        page.locator(".plotly-graph-div .main-svg").first.wait_for()
        picture = page.locator(".plotly-graph-div").screenshot()
        browser.close()
    return picture
