"""Security of the pages: response headers, and a check of requests that change something."""

from flask import Request, Response
from werkzeug.exceptions import Forbidden

from pipeline.origins import SAFE_METHODS
from viz_service import assets

# Styles: Plotly would insert <style> elements, but not if the page already has elements with their ids (see
# templates/overview.html; static/plotly.css has the rules). Its other style changes use the CSSOM, which CSP allows, so
# that styles do not need 'unsafe-inline' either.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger UI's page needs its inline script and styles; it shows no data of the fleet.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

CSRF_HEADER = "X-Requested-With"
"""Header that only scripts of the same origin can send: CORS does not allow it to other origins."""


def require_csrf_header(request: Request) -> None:
    """Rejects a request that changes something without the header; `pipeline.web` checks its origin.

    Raises:
        Forbidden: The request has no `X-Requested-With`.
    """
    if request.method not in SAFE_METHODS and not request.headers.get(CSRF_HEADER):
        raise Forbidden(f"A request that changes something needs the header {CSRF_HEADER}.")


def set_headers(request: Request, response: Response) -> Response:
    """Adds the headers of all responses."""
    response.headers["Content-Security-Policy"] = DOCS_POLICY if request.path.startswith("/docs") else PAGE_POLICY
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.path.startswith("/assets/") and response.status_code in (200, 304):
        # Without a version, the content of an address may change with an update.
        versioned = "v" in request.args
        response.headers["Cache-Control"] = (
            f"public, max-age={assets.MAX_AGE_SECONDS}, immutable" if versioned else "no-cache"
        )
    elif not request.path.startswith("/docs"):
        response.headers["Cache-Control"] = "no-store"
    return response
