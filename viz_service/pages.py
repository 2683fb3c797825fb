"""The pages: HTML rendered by Jinja, which escapes every text; small modules in `static/` keep it up to date.

Lists and question pages are rendered only here: their script fetches the page again and replaces the part marked
`data-live`, so that a row is rendered in one place.
"""

from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import urlencode

from flask import Blueprint, Response, make_response, render_template, request, send_file, url_for
from pydantic import TypeAdapter, ValidationError
from werkzeug.exceptions import NotFound

from pipeline.errors import Unavailable
from pipeline.messages import QuestionId, Reason
from viz_service import assets, timeline
from viz_service.sampler import State
from viz_service.scale import CHANCE_SCORE
from viz_service.schemas import (
    MAX_OFFSET,
    SELF_CHECKED,
    DeadLetters,
    DeadLettersQuery,
    FailedQuery,
    Filter,
    QuestionDetail,
    Questions,
    QuestionsQuery,
)
from viz_service.services import current
from viz_service.texts import LANGUAGES, Language, Texts, catalogue, choose
from viz_service.waiting import as_error_records

CHARTS = ("score-ranges", "attempts", "score-histogram", "improvement", "score-timeseries")
"""Charts of the overview, in order."""

NAVIGATION = (
    ("overview", "page.overview"),
    ("questions", "page.questions"),
    ("ask", "page.ask"),
    ("failed", "page.failed"),
    ("dead_letters", "page.dead_letters"),
)
SPANS = (1, 6, 24, 168)
"""Choices of hours to limit the charts to; without a limit they show everything."""

PAGE_SIZE = 25
YEAR_SECONDS = 31_536_000
_LANGUAGE, _THEME = "language", "theme"
_ID: TypeAdapter[str] = TypeAdapter(QuestionId)


pages = Blueprint("page", __name__, template_folder="templates", static_folder="static", static_url_path="/assets")


@pages.context_processor
def shared() -> dict[str, Any]:
    """Returns the variables of all templates."""
    t = texts()
    return {
        "t": t,
        "asset": _asset_url,
        "here": request.endpoint,
        "navigation": NAVIGATION,
        "languages": LANGUAGES,
        "theme": _theme(),
        "settings": current().settings,
        "in_language": _in_language,
        "with_page": _with_page,
        "chance": CHANCE_SCORE,
        "self_checked": SELF_CHECKED,
    }


@pages.after_request
def keep_language(response: Response) -> Response:
    """Saves a language that was chosen in the address in a cookie."""
    if request.args.get("lang") in LANGUAGES:
        response.set_cookie(_LANGUAGE, request.args["lang"], max_age=YEAR_SECONDS, samesite="Lax", httponly=True)
    response.headers.setdefault("Vary", "Accept-Language, Cookie")
    return response


@pages.get("/")
def overview() -> str:
    """Shows the pipeline, the charts and the alerts."""
    # Embedded in the page: the numbers appear one round trip earlier, and before Plotly keeps the browser busy.
    try:
        known = current().overview().model_dump_json()
    except Unavailable:
        known = None  # the page fetches again and shows the error
    return render_template("overview.html", charts=CHARTS, spans=SPANS, known=known)


@pages.get("/questions")
def questions() -> Any:
    """Lists questions."""
    query, wrong = _parsed(QuestionsQuery)
    found = current().queries.questions(query)
    filtered = {name: value for name, value in _arguments().items() if value and name not in ("page", "limit", "after")}
    html = render_template(
        "questions.html",
        query=query,
        wrong=wrong,
        found=found,
        topics=sorted({*current().queries.topics(), *([query.topic] if query.topic else [])}),
        pages=None if found.total_is_minimum else -(-found.total // query.limit),
        previous=_page_before(query),
        following=_page_after(query, found),
        filtered=bool(set(filtered) - {"sort"}),
        export=url_for("api.questions_csv") + ("?" + urlencode(filtered) if filtered and not wrong else ""),
        sorts=Filter.model_fields["sort"].annotation.__args__,  # type: ignore[union-attr]
    )
    return make_response(html, 422 if wrong else 200)


@pages.get("/questions/<question_id>")
def question(question_id: str) -> str:
    """Shows one question with its answer and history."""
    try:
        found = current().queries.question(_ID.validate_python(question_id))
    except ValidationError:
        found = None
    if found is None:
        raise NotFound
    if found.status == "pending":
        found = _with_waiting_errors(found, current().state)
    return render_template("question.html", question=found, steps=timeline.steps(found, datetime.now(UTC)))


@pages.get("/ask")
def ask() -> str:
    """Shows the form that asks a question."""
    return render_template("ask.html")


@pages.get("/failed")
def failed() -> Any:
    """Lists failed questions."""
    query, wrong = _parsed(FailedQuery)
    wanted = {
        "reason": query.reason,
        "text": query.text.strip() or None,
        "limit": PAGE_SIZE,
        "offset": (query.page - 1) * PAGE_SIZE,
    }
    found = current().storage.failed({name: value for name, value in wanted.items() if value is not None})
    html = render_template(
        "failed.html",
        query=query,
        wrong=wrong,
        rows=found.get("failed", []),
        total=found.get("total", 0),
        pages=-(-int(found.get("total", 0)) // PAGE_SIZE),
        filtered=bool(query.reason or query.text.strip()),
        reasons=get_args(Reason),
    )
    return make_response(html, 422 if wrong else 200)


@pages.get("/dead-letters")
def dead_letters() -> Any:
    """Lists rejected messages."""
    query, wrong = _parsed(DeadLettersQuery)
    found = current().queries.dead_letters(query)
    html = render_template(
        "dead_letters.html",
        query=query,
        wrong=wrong,
        found=found,
        pages=None if found.total_is_minimum else -(-found.total // query.limit),
        previous=_page_before(query),
        following=_page_after(query, found),
    )
    return make_response(html, 422 if wrong else 200)


@pages.get("/assets/plotly.min.js")
def plotly() -> Response:
    """Returns Plotly's script, compressed if the browser accepts it."""
    if request.accept_encodings["gzip"] <= 0:
        return send_file(assets.plotly(), mimetype="text/javascript")
    response = Response(assets.plotly_gzip(), mimetype="text/javascript")
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response


@pages.get("/assets/texts.<language>.js")
def script_of_texts(language: str) -> Response:
    """Returns the texts of a language for scripts."""
    if language not in LANGUAGES:
        raise NotFound
    return Response(assets.texts(language), mimetype="text/javascript")


def texts() -> Texts:
    """Returns the catalogue for this request."""
    return catalogue(_language())


def _with_waiting_errors(question: QuestionDetail, state: State) -> QuestionDetail:
    """Adds the failed calls that are not in the database until the question's next record."""
    samples = state.samples()
    found = {(each.attempt, each.retry): each for each in question.errors}
    for each in as_error_records(samples[-1].errors if samples else (), question.question_id):
        known = found.get((each.attempt, each.retry))
        # An error from before `asked_at` belongs to an earlier run of the question, which failed and was restarted.
        if each.failed_at >= question.asked_at and (known is None or known.times < each.times):
            found[each.attempt, each.retry] = each
    return question.model_copy(update={"errors": list(found.values())})


def _language() -> Language:
    return choose(request.args.get("lang"), request.cookies.get(_LANGUAGE), request.accept_languages)


def _theme() -> str:
    chosen = request.cookies.get(_THEME)
    return chosen if chosen in ("light", "dark") else "auto"


def _arguments() -> dict[str, str]:
    return {name: value for name, value in request.args.items() if name != "lang"}


def _parsed(kind: Any) -> tuple[Any, list[str]]:
    """Parses the query of the address; if it is invalid, returns the defaults and the names of the invalid fields."""
    try:
        return kind.model_validate(_arguments()), []
    except ValidationError as error:
        return kind(), [str(each["loc"][0]) if each["loc"] else "" for each in error.errors()]


def _in_language(language: str) -> str:
    return request.path + "?" + urlencode(_arguments() | {"lang": language})


def _with_page(number: int, after: str | None = None) -> str:
    known = {name: value for name, value in _arguments().items() if name != "after"}
    return request.path + "?" + urlencode(known | {"page": number} | ({"after": after} if after else {}))


def _page_before(query: QuestionsQuery | DeadLettersQuery) -> str | None:
    """Returns the address of the previous page; None if there is none, or if its number is beyond `MAX_OFFSET`."""
    before = query.page - 1
    return _with_page(before) if before >= 1 and (before - 1) * query.limit <= MAX_OFFSET else None


def _page_after(query: QuestionsQuery | DeadLettersQuery, found: Questions | DeadLetters) -> str | None:
    """Returns the address of the next page; None if there is none, or if it cannot be reached by number."""
    if not found.has_next or (found.next is None and query.page * query.limit > MAX_OFFSET):
        return None
    return _with_page(query.page + 1, found.next)


def _asset_url(name: str) -> str:
    if name == assets.PLOTLY:
        return url_for("page.plotly", v=assets.version(name))
    if name.startswith("texts."):
        return url_for("page.script_of_texts", language=name.split(".")[1], v=assets.version(name))
    return url_for("page.static", filename=name, v=assets.version(name))


def _unavailable(error: Unavailable) -> Any:
    html = render_template("problem.html", kind="away", detail=str(error))
    return make_response(html, 503, {"Retry-After": "5"})


def _not_found(_error: NotFound) -> Any:
    return make_response(render_template("problem.html", kind="not_found", detail=request.path), 404)


pages.register_error_handler(Unavailable, _unavailable)
pages.register_error_handler(NotFound, _not_found)
