"""What is wrong with a provider, in plain words, and what to change. Pure."""

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llm_consumer.llm import CallFailed

Kind = Literal[
    "name",
    "tls",
    "refused",
    "timeout",
    "connection",
    "key",
    "content",
    "field",
    "model",
    "address",
    "quota",
    "overload",
    "incompatible",
    "empty",
    "other",
]

_KEY = re.compile(r"api[ _]key|unauthorized|authenticat|invalid_api_key|permission_denied")
_CONTENT = re.compile(r"content[ _](?:filter|policy|management policy|refused)|responsibleaipolicy")
_FIELD = re.compile(
    r"unsupported[ _](?:parameter|value)|unknown name|unrecognized request argument|unknown parameter|extra inputs are "
    r"not permitted|extra fields not permitted"
)
_MODEL = re.compile(
    r"model.{0,200}(?:not[ _]found|not exist|not a valid|unknown)|(?:no such|unknown|invalid) model|models?/\S+ is not"
)


@dataclass(frozen=True)
class Variables:
    """Where in `.env` an attempt's model, address and key stand.

    Attributes:
        model: Variable of the model.
        base_url: Variable of the address.
        key: Variable of the key.
    """

    model: str
    base_url: str
    key: str


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong.

    Attributes:
        kind: For programs.
        problem: For people.
        remedy: What to change.
        said: What the provider said; empty where it may hold parts of a key, or adds nothing.
    """

    kind: Kind
    problem: str
    remedy: str
    said: str = ""


def diagnose(failure: CallFailed, variables: Variables) -> Diagnosis:
    """Says what a call failed of."""
    error = failure.error
    if error.status_code is None:
        found = _without_answer(failure, variables)
        if found:
            return found
    return _of_answer(error.type, error.status_code, error.message, variables)


def _without_answer(failure: CallFailed, variables: Variables) -> Diagnosis | None:
    causes = list(_causes(failure))
    text = failure.error.message
    where = variables.base_url
    if any(isinstance(each, socket.gaierror) for each in causes):
        return Diagnosis(
            "name",
            "no such host: its name is not known to the containers",
            f"Mend the host in {where}. The machine that the fleet runs on is host.docker.internal there.",
        )
    broken_tls = [
        each for each in causes if isinstance(each, ssl.SSLError) and not isinstance(each, ssl.SSLWantReadError)
    ]
    if broken_tls:
        return Diagnosis(
            "tls",
            "no secure connection: the certificate is not trusted, or the server does not speak TLS",
            f"Mend {where}: http:// for a server without TLS, and the host's name as it stands in the certificate.",
            str(broken_tls[-1]),
        )
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return Diagnosis(
            "refused",
            "the connection was refused: nothing listens there",
            f"Start the server, or mend host and port in {where}. To a container localhost is the container itself: "
            "name the machine host.docker.internal, and let the server listen on all its addresses (Ollama: "
            "OLLAMA_HOST=0.0.0.0).",
        )
    if "timed out" in text:
        return Diagnosis(
            "timeout",
            f"no answer: {text}",
            f"See whether host and port in {where} are right and no firewall drops the call. A large model that is "
            "still being loaded, or computes on a processor, needs a higher LLM_TIMEOUT.",
        )
    if text.startswith("Connection error"):
        return Diagnosis(
            "connection", "the connection broke", f"See whether {where} is the address of an HTTP server.", text
        )
    return None


def _of_answer(kind: str, status: int | None, text: str, variables: Variables) -> Diagnosis:
    lowered = text.lower()
    http = f" (HTTP {status})" if status else ""
    if status in (401, 403) or (status == 400 and _KEY.search(lowered)):
        return Diagnosis(
            "key",
            f"the key is wrong, or may not do this{http}",
            f"Set {variables.key} to a key of this provider; it is sent to {variables.base_url} alone.",
        )
    if kind == "quota":
        return Diagnosis(
            "quota",
            f"the quota is used up{http}",
            "Wait, add credit, or name another model or provider; the fleet itself waits and goes on.",
            text,
        )
    if _CONTENT.search(lowered):
        return Diagnosis(
            "content",
            f"the provider refuses the question of this check{http}",
            f"It was a harmless one. Name another model in {variables.model}, or loosen the provider's filter.",
            text,
        )
    if _FIELD.search(lowered):
        return Diagnosis(
            "field",
            f"the provider does not take one of the fields of the request{http}",
            "Take it out with LLM_EXTRA_BODY: {} sends none but the usual ones, null takes one out. Newer models of "
            'OpenAI take {"max_tokens": null, "max_completion_tokens": 1000, "temperature": null, "top_p": null}.',
            text,
        )
    if _MODEL.search(lowered):
        return Diagnosis(
            "model",
            f"the provider does not have this model{http}",
            f"Mend its name in {variables.model} (Ollama: `ollama pull` it first).",
            text,
        )
    if status in (404, 405):
        return Diagnosis(
            "address",
            f"there is no such page{http}",
            f"Mend the path in {variables.base_url}: it is what stands before /chat/completions, most often /v1.",
            text,
        )
    if text.startswith("empty answer"):
        return Diagnosis(
            "empty",
            "the model said nothing",
            "Raise LLM_MAX_TOKENS: a model that thinks first needs hundreds of tokens before its first word.",
            text,
        )
    if text.startswith("unreadable answer"):
        return Diagnosis(
            "incompatible",
            "what answers is not an OpenAI-compatible API",
            f"Mend {variables.base_url}: host, port and path, most often with /v1 at its end.",
            text,
        )
    if kind == "overload":
        return Diagnosis(
            "overload",
            f"the provider is there, and overloaded{http}",
            "Try again in a moment; the fleet itself waits and goes on. Lower LLM_CONCURRENCY if it stays so.",
            text,
        )
    return Diagnosis("other", f"the provider refuses the call{http}", "Do what it says:", text)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause:
        yield cause
        cause = cause.__cause__ or cause.__context__
