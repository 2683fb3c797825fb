"""Common parts of all web services: problem+json, `/health`, `/ready`, `/metrics`, the OpenAPI document and its page.

Errors follow RFC 9457: `type`, `title`, `status`, `detail`, and `errors`, which lists the invalid fields.
"""

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

import structlog
from flask import Flask, Response, current_app, g, jsonify, redirect, request
from flask_openapi3 import Info, OpenAPI, Tag
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType

from pipeline import metrics, origins
from pipeline.errors import Unavailable
from pipeline.origins import OriginSettings
from pipeline.version import VERSION

log = structlog.get_logger()

MAX_BODY_BYTES = 1_048_576
RETRY_AFTER_SECONDS = 5

Check = Callable[[], object]
"""Raises when a dependency is unavailable."""

_SERVICE = Tag(name="service", description="State of the service")


def _plain(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain lone surrogates")
    return text


PlainText = Annotated[str, AfterValidator(_plain)]
"""Text that can be stored and encoded: without U+0000, which PostgreSQL rejects, and without lone surrogates."""


class FieldError(BaseModel):
    """The error of one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457, `application/problem+json`)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list, description="The invalid fields, for invalid input.")


BACKGROUND = "background"
"""Key of the `Background` in the extensions of an application; optional."""


class Background(Protocol):
    """The background threads of an application."""

    def start(self) -> None:
        """Starts the threads, in the process that serves requests."""

    def release(self) -> None:
        """Ends waiting requests early, because the process is about to stop."""

    def close(self) -> None:
        """Ends the threads; called after the last request."""


class Health(BaseModel):
    """The process is running."""

    status: Literal["ok"] = "ok"
    version: str = Field(VERSION, description="Version of the release.")


class HealthWithNotes(Health):
    """The process is running; the notes say what an operator should know."""

    notes: list[str] = Field(description="What an operator should know; empty: nothing.")


class Readiness(BaseModel):
    """The service can handle requests."""

    status: Literal["ready", "degraded"] = Field(
        description="`degraded`: an optional dependency is unavailable, and the service is slower."
    )
    checks: dict[str, str] = Field(description="`ok` or the problem, by dependency.")


Documented = type[BaseModel] | dict[Any, Any] | None
Responses = dict[str | int | HTTPStatus, Documented]
"""Descriptions of responses by status, for flask-openapi3."""

_METRICS: Responses = {
    "200": {
        "description": "Metrics in Prometheus' text format.",
        "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}},
    }
}


def problem(status: int, detail: str, errors: list[FieldError] | None = None, **headers: str) -> Response:
    """Makes a problem+json response.

    Args:
        status: HTTP status.
        detail: The problem, for people.
        errors: The invalid fields.
        headers: Further headers; underscores in the names become dashes.
    """
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors or [])
    response = jsonify(body.model_dump(exclude_defaults=False))
    response.status_code = status
    response.content_type = "application/problem+json"
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def json_response(body: BaseModel, status: int = 200, **headers: str) -> Response:
    """Makes a response from a model. Pydantic writes the JSON, which is faster than Flask."""
    return Response(body.model_dump_json(), status, headers, mimetype="application/json")


def problems(*statuses: int) -> Responses:
    """Returns the OpenAPI description of error statuses, for a route's `responses`."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def create_api(
    title: str,
    description: str,
    checks: Mapping[str, Check],
    max_body_bytes: int = MAX_BODY_BYTES,
    optional: Mapping[str, Check] | None = None,
    notes: Callable[[], list[str]] | None = None,
) -> OpenAPI:
    """Makes an application with the common parts of all web services; the caller adds its routes.

    Args:
        title: Title of the OpenAPI document.
        description: Description of the OpenAPI document.
        checks: Checks of required dependencies by name, for `/ready`.
        max_body_bytes: Maximum size of a request body; larger ones get 413.
        optional: Checks of dependencies without which the service is ready but slower, by name.
        notes: Returns the notes in `/health`; None: it has none.
    """
    health_model = HealthWithNotes if notes else Health
    app = OpenAPI(
        title,
        info=Info(title=title, version=VERSION, description=description),
        validation_error_status=422,
        validation_error_model=Problem,
        validation_error_callback=_wrong_input,
        doc_prefix="/docs",
        security_schemes={},  # the default is null, which OpenAPI does not allow
    )
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_require_json)
    app.before_request(_start_clock)
    app.after_request(_observe)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(Exception, _unexpected)
    app.add_url_rule("/openapi.json", "openapi_json", lambda: app.api_doc)
    app.add_url_rule("/docs", "docs", lambda: redirect("/docs/swagger"))

    @app.get(
        "/health",
        tags=[_SERVICE],
        summary="Is the process running?",
        responses={"200": health_model, **problems(422)},
    )
    def health() -> Any:
        return (HealthWithNotes(notes=notes()) if notes else Health()).model_dump()

    @app.get(
        "/ready",
        tags=[_SERVICE],
        summary="Are the dependencies available?",
        responses={"200": Readiness, **problems(422, 503)},
    )
    def ready() -> Any:
        failing = _failing(checks)
        if failing:
            return problem(503, "; ".join(f"{name}: {why}" for name, why in failing.items()), Retry_After="5")
        missed = _failing(optional or {})
        found = dict.fromkeys([*checks, *(optional or {})], "ok") | missed
        return Readiness(status="degraded" if missed else "ready", checks=found).model_dump()

    @app.get("/metrics", tags=[_SERVICE], summary="Prometheus metrics", responses={**_METRICS, **problems(422)})
    def prometheus() -> Any:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return app


def _failing(checks: Mapping[str, Check]) -> dict[str, str]:
    failing = {}
    for name, check in checks.items():
        try:
            check()
        except Exception as error:  # any exception of a client means that the dependency is unavailable
            failing[name] = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return failing


def _require_json() -> None:
    """Rejects a body that is not JSON with 415 or 400, because flask-openapi3 would treat it like an empty body."""
    if request.url_rule is None:
        return
    body_model = _body_of(current_app.view_functions[request.url_rule.endpoint])
    if body_model is None or (not request.get_data() and not _is_required(body_model)):
        return
    if not request.is_json:
        raise UnsupportedMediaType("The body must be JSON: send it with Content-Type: application/json.")
    try:
        body = request.get_json()
    except (BadRequest, RecursionError, UnicodeDecodeError):
        raise BadRequest("The body is not readable JSON.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")


@functools.cache
def _body_of(view: Callable[..., Any]) -> type[BaseModel] | None:
    """Returns the model of a route's body, if it has one: the type of its parameter `body`, as in flask-openapi3."""
    parameter = inspect.signature(view).parameters.get("body")
    return parameter.annotation if parameter else None


def _is_required(body: type[BaseModel]) -> bool:
    """Returns whether a body is required, according to its documentation."""
    documented: Any = body.model_config.get("openapi_extra", {})
    return bool(documented.get("required", True))


def _wrong_input(error: ValidationError) -> Response:
    errors = [
        FieldError(
            field=".".join(str(part) for part in each["loc"]) or "body",
            message=each["msg"].removeprefix("Value error, "),
        )
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return problem(422, "; ".join(f"{each.field}: {each.message}" for each in errors), errors)


def _http_error(error: HTTPException) -> Any:
    if error.response is not None:
        return error.response
    status = error.code or 500
    response = problem(status, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _unavailable(error: Unavailable) -> Response:
    log.warning("could not serve a request", path=request.path, error=str(error))
    return problem(503, str(error), Retry_After=str(RETRY_AFTER_SECONDS))


def _unexpected(error: Exception) -> Response:
    log.exception("failed to serve a request", path=request.path, exc_info=error)
    return problem(500, "Internal error; see the log of this service.")


def _start_clock() -> None:
    g.started = time.perf_counter()


def _observe(response: Response) -> Response:
    if "started" in g:
        seconds = time.perf_counter() - g.started
        metrics.HTTP_SECONDS.labels(request.endpoint or "none", response.status_code).observe(seconds)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def refuse_foreign_requests(app: Flask, allowed: OriginSettings) -> None:
    """Refuses requests for other hosts (421) and changes by pages of other origins (403), before any other check."""
    hosts, pages = origins.listed(allowed.allowed_hosts), origins.listed(allowed.allowed_origins)

    def refuse() -> Response | None:
        asked = request.headers
        why = origins.refusal(
            request.method, asked.get("Host"), asked.get("Origin"), asked.get("Sec-Fetch-Site"), hosts, pages
        )
        if why == "host":
            return problem(421, "The host of the request is not allowed (ALLOWED_HOSTS).")
        if why == "origin":
            return problem(403, "Pages of other origins may not make changes (ALLOWED_ORIGINS).")
        return None

    app.before_request_funcs.setdefault(None, []).insert(0, refuse)
