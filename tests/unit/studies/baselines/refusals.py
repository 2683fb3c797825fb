"""What a provider says in place of an answer, as `requests` raises it."""

from collections.abc import Mapping

import requests


def refusal(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> requests.HTTPError:
    """Makes the error of a call that was refused."""
    response = requests.Response()
    response.status_code, response._content = status, body.encode()
    response.headers.update(headers or {})
    return requests.HTTPError("failed", response=response)
