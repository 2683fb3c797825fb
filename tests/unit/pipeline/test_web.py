import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.errors import Unavailable
from pipeline.version import VERSION
from pipeline.web import PlainText, create_api


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: PlainText
    count: int = 1


class OptionalBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, openapi_extra={"required": False})

    text: PlainText | None = None

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, body):
        return {} if body is None else body


@pytest.fixture
def broken():
    return {}


@pytest.fixture
def client(broken):
    def check():
        if broken:
            raise ConnectionError("refused\nsecond line")

    app = create_api("test", "A test.", {"database": check}, max_body_bytes=1000)

    @app.post("/things")
    def things(body: Body):
        return {"text": body.text}

    @app.post("/chairs")
    def chairs(body: OptionalBody):
        return {"text": body.text}

    @app.post("/bell")
    def bell():
        return {"rang": True}

    @app.get("/unavailable")
    def unavailable():
        raise Unavailable("PostgreSQL: gone")

    @app.get("/bug")
    def bug():
        raise KeyError("secret")

    return app.test_client()


def problem(response, status):
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    body = response.get_json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


def test_an_optional_body_is_validated_when_it_is_present(client):
    assert client.post("/chairs").get_json() == {"text": None}
    assert client.post("/chairs", content_type="application/json").get_json() == {"text": None}
    assert client.post("/chairs", json={"text": "oak"}).get_json() == {"text": "oak"}
    problem(client.post("/chairs", data="text=oak"), 415)
    problem(client.post("/chairs", data="{", content_type="application/json"), 400)
    problem(client.post("/chairs", json={"colour": "red"}), 422)
    problem(client.post("/things"), 415)


def test_readiness_depends_on_the_checks_and_health_does_not(client, broken):
    assert client.get("/health").get_json() == {"status": "ok", "version": VERSION}
    assert client.get("/ready").get_json() == {"status": "ready", "checks": {"database": "ok"}}
    broken["yes"] = True
    assert problem(client.get("/ready"), 503)["detail"] == "database: refused"
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": 3}, "text"),
        ({"text": "a", "count": "1"}, "count"),
        ({"text": "a", "colour": "blue"}, "colour"),
        ({"text": "\ud800"}, "text"),
        ({"text": "a\x00"}, "text"),
    ],
)
def test_an_invalid_field_is_named(client, body, field):
    found = problem(client.post("/things", json=body), 422)
    assert [each["field"] for each in found["errors"]] == [field]


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"text=a", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'"{}"', "application/json", 400),
        (b"\xff\xfe\xff", "application/json", 400),
        (b'{"text": "' + b"a" * 1000 + b'"}', "application/json", 413),
        (b"[" * 990, "application/json", 400),
    ],
)
def test_a_body_that_is_not_a_json_object_is_rejected(client, data, content_type, status):
    problem(client.post("/things", data=data, content_type=content_type), status)


@pytest.mark.parametrize("more", [{}, {"json": {}}, {"data": b"{", "content_type": "text/plain"}])
def test_a_route_without_a_body_ignores_any_body(client, more):
    assert client.post("/bell", **more).get_json() == {"rang": True}


def test_a_missing_body_is_reported(client):
    assert problem(client.post("/things"), 415)["detail"].startswith("The body must be JSON")


def test_errors_are_problem_documents(client):
    problem(client.get("/nowhere"), 404)
    assert "POST" in client.get("/things").headers["Allow"]
    problem(client.get("/things"), 405)
    unavailable = client.get("/unavailable")
    problem(unavailable, 503)
    assert int(unavailable.headers["Retry-After"]) > 0
    assert "secret" not in problem(client.get("/bug"), 500)["detail"]


def test_the_openapi_document_and_its_page_are_served(client):
    document = client.get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    assert "/things" in document["paths"]
    page = client.get("/docs", follow_redirects=True)
    assert page.status_code == 200
    assert b"https://" not in page.data
    assert client.get("/docs/swagger/js/swagger-ui-bundle.js").status_code == 200


def test_metrics_count_requests(client):
    client.get("/health")
    assert b'http_request_seconds_count{endpoint="health",status="200"}' in client.get("/metrics").data
