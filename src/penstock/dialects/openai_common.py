"""What OpenAI's chat and its older completions say alike: errors, token counts, and a provider's own JSON on one line."""

from __future__ import annotations

import msgspec
import orjson

from penstock.core.errors import TABLE
from penstock.core.events import Fault, Usage

FOREIGN = {"refusal": "content_filter", "model_context_window_exceeded": "length"}
"""Reasons to end that other protocols have and OpenAI's clients do not know, by the one that says the same."""


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


def cancelled(by: str) -> dict[str, str | None]:
    """A cancelled answer is not a complete one, so it has no finish reason; SDKs raise on `error`."""
    return {"message": f"the answer was cancelled ({by})", "type": "cancelled", "code": "cancelled", "param": None}


def compact(raw: msgspec.Raw) -> bytes:
    """A provider's JSON on one line: a line break would end the SSE line."""
    data = bytes(raw)
    return msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data


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
