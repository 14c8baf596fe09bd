"""What a provider's refusal means: status and body of an OpenAI-compatible server → an error of our table.

Messages name the provider's host and nothing that could hold a key; a provider that quotes its key is not quoted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from penstock.core.errors import Broken

LONGEST_WAIT = 3600.0
"""Seconds of `Retry-After` beyond which a provider is not believed."""
LONGEST_MESSAGE = 500
"""Characters of a provider's message that are passed on."""

Loose = Any  # a value a provider chose; looked at, never trusted

_TOO_LONG = (
    "context length",
    "context limit",
    "context size",
    "context window",
    "context_length",
    "prompt is too long",
)
_BY_NAME = {
    "authentication_error": "provider_auth",
    "bio_policy": "content_refused",
    "content_filter": "content_refused",
    "content_policy_violation": "content_refused",
    "context_length_exceeded": "context_too_long",
    "exceed_context_size_error": "context_too_long",
    "image_content_policy_violation": "content_refused",
    "insufficient_quota": "provider_rate_limited",
    "invalid_api_key": "provider_auth",
    "invalid_image": "provider_refused",
    "invalid_image_url": "provider_refused",
    "invalid_prompt": "provider_refused",
    "invalid_request_error": "provider_refused",
    "misalignment_policy_violation": "content_refused",
    "model_not_found": "provider_model_unknown",
    "not_found_error": "provider_model_unknown",
    "overloaded": "provider_overloaded",
    "overloaded_error": "provider_overloaded",
    "permission_error": "provider_auth",
    "rate_limit_error": "provider_rate_limited",
    "rate_limit_exceeded": "provider_rate_limited",
}


def refused(host: str, status: int, body: bytes, headers: Mapping[str, str], *, secret: str | None = None) -> Broken:
    """The error of an HTTP answer that is not a stream. `headers` is case-insensitive."""
    try:
        loaded: Loose = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        loaded = None
    if status == 200:
        return failed(host, loaded, secret=secret)
    message, names = _said(loaded)
    code = code_of(status, names, message)
    return broken(host, code, message, status=status, retry_after=retry_after(headers), secret=secret)


def confesses(body: bytes) -> bool:
    """Whether the body of a 200 is an error object after all."""
    try:
        loaded: Loose = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(loaded, dict) and bool(loaded.get("error"))


def failed(host: str, error: Loose, *, secret: str | None = None) -> Broken:
    """The error of an `error` value in the middle of a stream that began well."""
    message, names = _said(error)
    status = next((int(name) for name in names if name.isdecimal() and len(name) == 3), 0)
    return broken(host, code_of(status, names, message), message, status=status, secret=secret)


def broken(
    host: str,
    code: str,
    message: str = "",
    *,
    status: int = 0,
    retry_after: float | None = None,
    secret: str | None = None,
) -> Broken:
    """An error of our table in one sentence about the provider, with its own message where that may be shown."""
    answered = f" answered {status}" if status else ""
    match code:
        case "provider_auth":
            return Broken(
                code, f"{host}{answered}: it rejected the server's credentials; the operator must set its key"
            )
        case "provider_rate_limited":
            what = f"{host} is rate limiting"
        case "provider_overloaded":
            what = f"{host} is overloaded"
        case "provider_error":
            what = f"{host} failed"
        case "provider_model_unknown":
            what = f"{host} does not know the model"
        case "provider_unreachable":
            what = f"{host} could not be reached"
        case "provider_truncated":
            what = f"{host} ended the stream before the answer was complete"
        case _:
            what = f"{host} refused the request"
    if secret:
        message = message.replace(secret, "***")
    message = " ".join(message.encode(errors="replace").decode().split())
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + "…"
    said = f": {message}" if message else f" with status {status}" if status else ""
    return Broken(code, what + said, retry_after=retry_after)


def code_of(status: int, names: tuple[str, ...] = (), message: str = "") -> str:
    """The code of our table. `names` are the provider's own type and code; they decide where the status says little."""
    by_name = next((_BY_NAME[name] for name in names if name in _BY_NAME and name != "invalid_request_error"), None)
    if status in (401, 403):
        # A filter of Azure's and others' answers 403 with the reason in its code.
        return "content_refused" if by_name == "content_refused" else "provider_auth"
    if status == 404:
        return "provider_model_unknown"
    if status == 429:
        return "provider_rate_limited"
    if status in (503, 529):
        return "provider_overloaded"
    if status == 408 or status >= 500:
        return "provider_error"
    if by_name in ("context_too_long", "content_refused") or (by_name and not status):
        return by_name
    if status >= 400 or "invalid_request_error" in names:
        lower = message.lower()
        return "context_too_long" if any(sign in lower for sign in _TOO_LONG) else "provider_refused"
    return "provider_error"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` (OpenAI) or `Retry-After` (RFC 9110 §10.2.3); None where neither makes sense."""
    seconds = _number(headers.get("retry-after-ms"))
    if seconds is not None:
        seconds /= 1000
    elif (stated := headers.get("retry-after")) is not None:
        seconds = _number(stated)
        if seconds is None:
            try:
                seconds = parsedate_to_datetime(stated).timestamp() - time.time()
            except (ValueError, OverflowError):
                return None
            seconds = max(seconds, 0.0)
    if seconds is None or seconds < 0:
        return None
    return min(seconds, LONGEST_WAIT)


def _number(stated: str | None) -> float | None:
    try:
        number = float(stated or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _said(loaded: Loose) -> tuple[str, tuple[str, ...]]:
    """The message of an error body in any of its known shapes, and what the provider calls it."""
    if isinstance(loaded, list) and len(loaded) == 1:
        loaded = loaded[0]  # Gemini wraps its error in a list
    if isinstance(loaded, str):
        return loaded, ()
    if not isinstance(loaded, dict):
        return "", ()
    inner = loaded.get("error")
    if isinstance(inner, dict | str) and inner:
        return _said(inner)
    message = loaded.get("message") or loaded.get("detail") or ""  # `detail` is FastAPI's
    if not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    names = [str(loaded[key]) for key in ("code", "type", "status") if isinstance(loaded.get(key), str | int)]
    deeper = loaded.get("innererror")  # Azure's filter speaks here
    if isinstance(deeper, dict) and deeper.get("code") == "ResponsibleAIPolicyViolation":
        names.append("content_filter")
    return message, tuple(names)
