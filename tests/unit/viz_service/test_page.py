"""The page, its files and its headers."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from viz_service import assets
from viz_service.settings import VizSettings

STATIC = assets.STATIC


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.script_text = ""
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.script_text += data

    def addresses(self) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags for name in ("src", "href") if name in attrs]


@pytest.fixture
def page(client: FlaskClient) -> Page:
    return Page(client.get("/").get_data(as_text=True))


def test_has_no_inline_script_or_style(page: Page) -> None:
    assert page.script_text.strip() == ""
    assert all(attrs.get("src") for tag, attrs in page.tags if tag == "script")
    assert not [tag for tag, _ in page.tags if tag == "style"]
    assert not [name for _, attrs in page.tags for name in attrs if name == "style" or name.startswith("on")]


def test_asks_no_other_host_and_no_path_that_is_missing(page: Page, client: FlaskClient) -> None:
    for address in page.addresses():
        assert address.startswith(("/", "#")), address
        if address.startswith("/"):
            assert client.get(address, follow_redirects=True).status_code == 200, address


def test_policy_allows_own_files_only(client: FlaskClient) -> None:
    headers = client.get("/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/api/statistics", "/api/nothing", "/health", "/openapi.json"])
def test_no_path_but_the_documentation_has_a_wider_policy(client: FlaskClient, path: str) -> None:
    assert client.get(path).headers["Content-Security-Policy"] == client.get("/").headers["Content-Security-Policy"]


def test_swagger_ui_may_run_its_inline_script(client: FlaskClient) -> None:
    assert "script-src 'self' 'unsafe-inline'" in client.get("/docs/swagger").headers["Content-Security-Policy"]


def test_assets_are_kept_for_a_year_by_version(page: Page, client: FlaskClient) -> None:
    found = [address for address in page.addresses() if address.startswith("/assets/")]
    assert {Path(address.split("?")[0]).name for address in found} == {
        "dashboard.css",
        "dashboard.js",
        "icon.svg",
        "plotly.css",
        "plotly.min.js",
    }
    for address in found:
        assert re.fullmatch(r"/assets/[\w.]+\?v=[0-9a-f]{12}", address)
        assert client.get(address).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get("/assets/dashboard.js").headers["Cache-Control"] == "no-cache"
    assert client.get("/assets/nothing.js?v=1").headers["Cache-Control"] == "no-store"


def test_texts_never_become_markup() -> None:
    script = (STATIC / "dashboard.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)


def test_says_how_often_it_refreshes(page: Page) -> None:
    body = next(attrs for tag, attrs in page.tags if tag == "body")
    assert body["data-refresh-seconds"] == str(VizSettings().viz_refresh_seconds)


def test_has_landmarks_and_one_first_heading(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("header") == tags.count("footer") == 1
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        assert attrs.get("aria-labelledby") in {None, *ids}


def test_plotly_finds_its_styles_on_the_page(page: Page) -> None:
    """Else it inserts <style> elements, which the policy forbids. A new plotly.js may ask for others."""
    bundle = assets.plotly().read_text()
    inserted = set(re.findall(r'\w\.id="([0-9a-f]{64})"', bundle)) | {"plotly.js-style-global"}
    assert bundle.count('createElement("style")') == len(inserted)
    assert ".no-inline-styles" in bundle
    links = {attrs["id"]: attrs for tag, attrs in page.tags if tag == "link" and attrs.get("id")}
    assert set(links) == inserted
    assert links["plotly.js-style-global"]["class"] == "no-inline-styles"


def test_own_plotly_rules_are_those_of_the_bundle() -> None:
    bundle = re.sub(r"\s", "", assets.plotly().read_text())
    rules = re.findall(r"^\.js-plotly-plot \.plotly (\S[^{]*?) \{ (.*) \}$", (STATIC / "plotly.css").read_text(), re.M)
    assert len(rules) > 5
    for selector, declarations in rules:
        found = re.search(rf'"X{re.escape(selector.replace(" ", ""))}":["\']([^"\']*)', bundle)
        assert found, selector
        for declaration in declarations.replace(" ", "").split(";"):
            assert declaration in found.group(1), f"{selector}: {declaration}"
