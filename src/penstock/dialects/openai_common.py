"""What OpenAI's chat and its older completions say alike: the envelope of an answer, its end, errors and token counts."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from penstock.core.errors import TABLE
from penstock.core.events import Fault, Usage
from penstock.core.frame import Frame, View
from penstock.core.snapshot import Snapshot

FOREIGN = {"refusal": "content_filter", "model_context_window_exceeded": "length"}
"""Reasons to end that other protocols have and OpenAI's clients do not know, by the one that says the same."""


_DONE = Frame(b"[DONE]", sentinel=True)


def head(view: View, prefix: str, kind: str, *, model: str, created: int) -> bytes:
    """What every object of one stream begins with; `prefix` is that of its id, `kind` what it says it is."""
    said = orjson.dumps({"id": view.answer_id(prefix), "object": kind, "created": created, "model": model})
    return said[:-1] + b","


def last_words(view: View, head: bytes, usage: Usage | None) -> list[Frame]:
    """What follows the ends of the choices: the usage where it was asked for, and `[DONE]`."""
    frames = []
    if view.include_usage and usage:
        frames.append(Frame(b'%b"choices":[],"usage":%b}' % (head, orjson.dumps(token_counts(usage)))))
    if view.sentinel:
        frames.append(_DONE)
    return frames


def whole(snapshot: Snapshot, view: View, prefix: str, kind: str, choice: Callable[[int], dict[str, object]]) -> bytes:
    """An answer at once; `choice` tells one of its choices by number."""
    started = snapshot.started
    body: dict[str, object] = {
        "id": view.answer_id(prefix),
        "object": kind,
        "created": started.created if started else view.created,
        "model": started.model if started else view.model,
        "choices": [choice(number) for number in sorted({part.choice for part in snapshot.parts} or {0})],
    }
    if snapshot.usage:
        body["usage"] = token_counts(snapshot.usage)
    return orjson.dumps(body)


def failed(fault: Fault) -> Frame:
    """The last frame of an answer that failed."""
    return Frame(orjson.dumps({"error": error(fault)}))


def cancelled(by: str) -> Frame:
    """A cancelled answer is not a complete one, so it has no finish reason; SDKs raise on `error`."""
    told = {"message": f"the answer was cancelled ({by})", "type": "cancelled", "code": "cancelled", "param": None}
    return Frame(orjson.dumps({"error": told}))


def finish_reason(reason: str) -> str:
    """A reason in OpenAI's words; one that nobody knows goes as it is."""
    return FOREIGN.get(reason, reason)


def refusal(fault: Fault, request_id: str) -> bytes:
    """The body of an error response."""
    return orjson.dumps({"error": error(fault), "request_id": request_id})


def error(fault: Fault) -> dict[str, str | None]:
    """The error object, on which SDKs raise wherever it comes."""
    row = TABLE.get(fault.code)
    if row and row.status == 429:
        kind = "rate_limit_error"
    elif row and 400 <= row.status < 500:
        kind = "invalid_request_error"
    else:
        kind = "server_error"
    return {"message": fault.message, "type": kind, "code": fault.code, "param": fault.param}


def token_counts(usage: Usage) -> dict[str, object]:
    """The `usage` object."""
    counts: dict[str, object] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
    if usage.cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return counts
