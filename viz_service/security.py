"""What keeps the pages safe: response headers, and who may change something."""

from flask import Request, Response
from werkzeug.exceptions import Forbidden

from pipeline.origins import SAFE_METHODS
from viz_service import assets

# Styles: Plotly would insert <style> elements, but leaves it be where the page has elements with their ids: see
# templates/overview.html; static/plotly.css has the rules. All else that our charts do to styles goes through the
# CSSOM, which CSP allows, so that 'unsafe-inline' is not needed for styles either.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger UI's page has an inline script and inline styles and cannot do without them; it shows no data of ours.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

MARK = "X-Requested-With"
"""Header that only a script of the same origin can send: other origins would need our consent (CORS), and get none."""


def require_mark(request: Request) -> None:
    """Lets a request that changes something pass only with the mark; `pipeline.web` looks at where it comes from.

    Raises:
        Forbidden: It has no `X-Requested-With`.
    """
    if request.method not in SAFE_METHODS and not request.headers.get(MARK):
        raise Forbidden(f"A request that changes something needs the header {MARK}.")


def set_headers(request: Request, response: Response) -> Response:
    """Adds the headers that every response has."""
    response.headers["Content-Security-Policy"] = DOCS_POLICY if request.path.startswith("/docs") else PAGE_POLICY
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.path.startswith("/assets/") and response.status_code in (200, 304):
        # Without its version an address may show something else after an update.
        versioned = "v" in request.args
        response.headers["Cache-Control"] = (
            f"public, max-age={assets.MAX_AGE_SECONDS}, immutable" if versioned else "no-cache"
        )
    elif not request.path.startswith("/docs"):
        response.headers["Cache-Control"] = "no-store"
    return response
