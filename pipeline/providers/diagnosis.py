"""Explains a failed call in plain words, and what to change. Pure."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.messages import ProviderError
from pipeline.providers.api import CallFailed
from pipeline.providers.errors import redacted

Kind = Literal[
    "name",
    "tls",
    "refused",
    "timeout",
    "connection",
    "key",
    "access",
    "credit",
    "rate",
    "quota",
    "model",
    "content",
    "context",
    "field",
    "address",
    "overload",
    "incompatible",
    "thinking",
    "empty",
    "other",
]


@dataclass(frozen=True)
class Variables:
    """Variables of `.env` that contain an attempt's model, address and key.

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
    """Explanation of a failed call.

    Attributes:
        kind: Kind of the problem, for programs.
        problem: The problem, for people.
        remedy: What to change.
        said: Message of the provider, without anything that looks like a key; empty when it adds nothing. The caller
            removes the keys that it knows.
    """

    kind: Kind
    problem: str
    remedy: str
    said: str = ""


def diagnose(failure: CallFailed, variables: Variables) -> Diagnosis:
    """Explains why a call failed."""
    error = failure.error
    found = _without_answer(failure, variables) if error.status_code is None else None
    return found or _of_message(error, variables) or _of_cause(error, variables)


def duration(seconds: float) -> str:
    """Formats a wait for people, in its two largest units: `9 m 38 s`, `26 s`, `0.1 s`."""
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    left, parts = round(seconds), []
    for name, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def _without_answer(failure: CallFailed, variables: Variables) -> Diagnosis | None:
    causes = list(_causes(failure))
    text = failure.error.message
    where = variables.base_url
    if any(isinstance(each, socket.gaierror) for each in causes):
        return Diagnosis(
            "name",
            "no such host: the containers cannot resolve its name",
            f"Correct the host in {where}. The machine that the fleet runs on is host.docker.internal there.",
        )
    broken_tls = [
        each for each in causes if isinstance(each, ssl.SSLError) and not isinstance(each, ssl.SSLWantReadError)
    ]
    if broken_tls:
        return Diagnosis(
            "tls",
            "no secure connection: the certificate is not trusted, or the server does not speak TLS",
            f"Correct {where}: http:// for a server without TLS, and the host's name as in the certificate.",
            str(broken_tls[-1]),
        )
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return Diagnosis(
            "refused",
            "the connection was refused: nothing listens there",
            f"Start the server, or correct host and port in {where}. To a container localhost is the container itself: "
            "name the machine host.docker.internal, and let the server listen on all its addresses (Ollama: "
            "OLLAMA_HOST=0.0.0.0).",
        )
    if text.startswith("timed out"):
        return Diagnosis(
            "timeout",
            f"no answer: {text}",
            f"Check that host and port in {where} are right and that no firewall drops the call. A large model that is "
            "still being loaded, or runs on a CPU, needs a higher LLM_TIMEOUT.",
        )
    if text.startswith("Connection error"):
        return Diagnosis(
            "connection", "the connection broke", f"Check that {where} is the address of an HTTP server.", text
        )
    return None


def _of_message(error: ProviderError, variables: Variables) -> Diagnosis | None:
    """Explains a problem that the client itself has detected and describes in the message."""
    text, http = error.message, _http(error)
    if text.startswith("redirected to"):
        return Diagnosis(
            "address",
            f"the API is at another address{http}",
            f"Set {variables.base_url} to the address that it names, without /chat/completions. Redirects are not "
            "followed, because the key belongs to the configured address.",
            redacted(text),
        )
    if text.startswith(("unreadable answer", "answer too large")):
        return Diagnosis(
            "incompatible",
            "the server is not an OpenAI-compatible API",
            f"Correct {variables.base_url}: host, port and path, most often with /v1 at its end.",
            redacted(text),
        )
    if error.cause != "no_answer":
        return None
    if "thinking" in text or "thoughts" in text:
        return Diagnosis(
            "thinking",
            "the model only thought, and did not answer",
            "Raise LLM_MAX_TOKENS: thoughts count, and take hundreds of tokens before the first word of the answer. Or "
            "turn thinking off with LLM_EXTRA_BODY.",
            redacted(text),
        )
    return Diagnosis(
        "empty",
        "the answer of the model is empty",
        "Raise LLM_MAX_TOKENS: a model that thinks first needs hundreds of tokens before its first word.",
        redacted(text),
    )


def _of_cause(error: ProviderError, variables: Variables) -> Diagnosis:
    kind, problem, remedy = _by_cause(error, variables)
    wait = error.retry_after_seconds
    delay = f"; it says to wait {duration(wait)}" if wait else ""
    return Diagnosis(kind, f"{problem}{_http(error)}{delay}", remedy, redacted(error.message))


def _by_cause(error: ProviderError, variables: Variables) -> tuple[Kind, str, str]:
    """Returns the kind, the problem and the remedy."""
    match error.cause:
        case "key":
            return (
                "key",
                "the provider does not accept the key",
                f"Set {variables.key} to a valid key of this provider; it is only sent to {variables.base_url}.",
            )
        case "access":
            return (
                "access",
                "the provider blocks this client or account, for any key",
                "The cause may be the country or address of the caller (a proxy or VPN helps, or hinders), a firewall "
                "before the API (for example Cloudflare's), or a missing step of the account: verify its organization, "
                "accept terms, enable the API.",
            )
        case "credit":
            return (
                "credit",
                "the account has no credit left, or reached its spending limit",
                f"Add credit, raise the limit at the provider, or name another provider in {variables.base_url}. The "
                "questions wait; the fleet tries again at intervals, and continues automatically.",
            )
        case "rate_limit":
            return (
                "rate",
                "the provider admits no more calls for now",
                "Nothing has to be done: the fleet waits and continues. If its limits are known, set LLM_RPM and "
                "LLM_TPM to them, so that no call is refused.",
            )
        case "quota":
            return (
                "quota",
                "the quota is used up",
                "Wait, ask the provider for more, or name another model or provider; the fleet waits and continues.",
            )
        case "model":
            return (
                "model",
                "the provider does not have this model, or not for this key",
                f"Correct its name in {variables.model} (Ollama: `ollama pull` it first), or have the key given access "
                "to it.",
            )
        case "refused_content":
            return (
                "content",
                "the provider refuses the question of this check",
                f"The question is harmless. Name another model in {variables.model}, or loosen the provider's filter.",
            )
        case "context_length":
            return (
                "context",
                "the question of this check is too long for the model as it is set up",
                "The question is short. Lower LLM_MAX_TOKENS, which counts, and give the model a larger context "
                "(Ollama: num_ctx, llama.cpp: --ctx-size, vLLM: --max-model-len) or the account a higher rate of "
                "tokens.",
            )
        case "field":
            return (
                "field",
                "the provider does not support one of the fields of the request",
                "Change it with LLM_EXTRA_BODY: {} adds no field, null removes one. Newer models of OpenAI need "
                '{"max_tokens": null, "max_completion_tokens": 1000, "temperature": null, "top_p": null}.',
            )
    if error.cause == "other" and error.status_code in (404, 405):
        return (
            "address",
            "the path does not exist",
            f"Correct the path in {variables.base_url}: the part before /chat/completions, most often /v1.",
        )
    if error.type == "permanent":
        return "other", "the provider refuses the call", "Do what it says:"
    return (
        "overload",
        "the provider is overloaded or out of order",
        "Try again in a moment; the fleet waits and continues. Lower LLM_CONCURRENCY if this persists.",
    )


def _http(error: ProviderError) -> str:
    return f" (HTTP {error.status_code})" if error.status_code else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause:
        yield cause
        cause = cause.__cause__ or cause.__context__
