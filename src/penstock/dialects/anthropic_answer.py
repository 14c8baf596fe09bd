"""What an Anthropic message says besides the words of its blocks: ids, usage, why it stopped, citations, errors.

Shapes follow anthropic-python (`types/message.py`, `types/raw_message_delta_event.py`, `types/shared/error_type.py`).
"""

from __future__ import annotations

import msgspec
import orjson

from penstock.core.carried import BLOCK
from penstock.core.errors import TABLE
from penstock.core.events import Fault, Finished, Json, Kind, Note, Opened, Usage
from penstock.core.finish_reason import FinishReason
from penstock.core.frame import View
from penstock.core.signed_call import signed_id
from penstock.core.snapshot import Snapshot
from penstock.dialects.anthropic_fields import Object, is_object, without
from penstock.dialects.anthropic_messages import NAME

BOXED = BLOCK % NAME
"""The media type of a part that is a whole block of Anthropic's."""
STOP = "stop"
"""The topic of the note in which a provider says more of why it stopped: members of `message_delta.delta`."""
USAGE = "usage"
"""That of the note in which it says what else it counted than tokens: objects of `message_delta.usage`."""

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ERRORS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def call_id(opened: Opened) -> str:
    """Clients send the id back with the result, so a call must have one even where the provider gave none."""
    return opened.call_id or f"toolu_{opened.part}"


def told(opened: Opened) -> bool:
    """Whether a part is a block of the message: the one answer there is, and what it has words for."""
    return opened.choice == 0 and (opened.kind != "binary" or opened.media_type == BOXED)


class Stopping:
    """Gathers why a message stops. In whatever order it is told the same things, it says the same."""

    __slots__ = ("_answered", "_calls", "_counts", "_more", "_reason", "_refused")

    def __init__(self) -> None:
        self._reason = FinishReason()
        self._calls: set[str] = set()
        self._answered: set[str] = set()
        self._refused = False
        self._more: Object = {}
        self._counts: Object = {}

    def prime(self, so_far: Snapshot) -> None:
        for part in so_far.parts:
            opened = part.opening()
            if told(opened):
                self.opened(opened)
                self.closed(part.part, part.meta)
        for returned in so_far.tools:
            self.returned(returned.call_id)
        for note in so_far.notes:
            self.noted(note)

    def opened(self, opened: Opened) -> None:
        if opened.kind == "tool_call":
            self._calls.add(call_id(opened))
        self._refused = self._refused or opened.kind == "refusal"

    def closed(self, part: int, meta: dict[str, Json] | None) -> None:
        self._reason.closed(part, meta)

    def returned(self, call: str) -> None:
        """The server ran a tool itself, so that the client need not."""
        self._answered.add(call)

    def noted(self, note: Note) -> None:
        if note.topic == STOP and is_object(note.body):
            self._more.update(note.body)
        elif note.topic == USAGE and is_object(note.body):
            self._counts.update(note.body)

    def usage(self, usage: Usage | None) -> Object:
        """All that was counted, by the end."""
        counts = usage_of(usage)
        return counts | {name: value for name, value in self._counts.items() if name not in counts and is_object(value)}

    def delta(self, event: Finished) -> Object:
        """`delta` of `message_delta`. Providers say "stop" of much that has a word of its own here."""
        reason = self._reason.word(event.reason)
        word = _REASONS.get(reason, reason)
        if word == "end_turn":
            if self._refused:
                word = "refusal"
            elif isinstance(self._more.get("stop_sequence"), str):
                word = "stop_sequence"
            elif self._calls - self._answered:
                word = "tool_use"
        return {"stop_reason": word, "stop_sequence": None, **without(self._more, "stop_reason")}


def usage_of(usage: Usage | None) -> Object:
    """Cumulative counts; what came from the cache or went into it is counted apart."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    read, written = usage.cached or 0, usage.cache_written or 0
    counts: Object = {
        "input_tokens": max(usage.input - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output,
    }
    if usage.reasoning is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def message(view: View, model: str, usage: Usage | None) -> Object:
    """A message of which nothing was said yet."""
    return {
        "id": view.answer_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_of(usage),
    }


def empty_block(opened: Opened) -> Object:
    """What `content_block_start` says of a part that comes in pieces, with what only a provider of this protocol says of it."""
    block: Object
    match opened.kind:
        case "tool_call":
            block = {
                "type": "tool_use",
                "id": signed_id(call_id(opened), opened.meta),
                "name": opened.name or "",
                "input": {},
            }
        case "reasoning":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            block = {"type": "text", "text": ""}
    own = opened.meta.get(NAME) if opened.meta else None
    return block | without(own, *block) if is_object(own) else block


def boxed_block(data: bytes) -> Object | None:
    """The block in a part that is a box; None where it is none."""
    try:
        value: Json = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if is_object(value) and isinstance(value.get("type"), str) else None


def signature(meta: dict[str, Json] | None) -> str:
    """What the provider wants to see again with a block of thinking."""
    value = meta.get("signature") if meta else None
    return value if isinstance(value, str) else ""


def citations(kind: Kind, meta: dict[str, Json] | None) -> list[Json]:
    """The citations of a text: the provider's own where it spoke Anthropic, else as places on the web."""
    value = meta.get("citations") if meta and kind == "text" else None
    return [_citation(one) for one in value if is_object(one)] if isinstance(value, list) else []


def _citation(said: Object) -> Json:
    own = said.get(NAME)
    if is_object(own):
        return own
    url, title, quote = (
        value if isinstance(value := said.get(name), str) else "" for name in ("url", "title", "quote")
    )
    return {
        "type": "web_search_result_location",
        "cited_text": quote,
        "url": url,
        "title": title or None,
        "encrypted_index": "",
    }


def tool_input(text: str) -> Json:
    """The arguments of a call, which have to be an object; anything else is put into one, as Anthropic asks its clients to."""
    if not text.strip():
        return {}
    value = _object(text)
    return {"INVALID_JSON": text} if value is None else value


def complete(text: str) -> bool:
    """Whether these arguments of a call are all of them: after the end of an object nothing can follow."""
    return _object(text) is not None


def _object(text: str) -> Object | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if is_object(value) else None


def error(fault: Fault) -> Object:
    """`error` of an error; `details` has our code, and the field that was at fault."""
    row = TABLE.get(fault.code)
    status = row.status if row else 500
    kind = _ERRORS.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")
    details: Object = {"error_code": fault.code}
    if fault.param is not None:
        details["param"] = fault.param
    return {"type": kind, "message": fault.message, "details": details}


def cancelled(by: str) -> Object:
    """A cancelled answer is not a complete one, so it has no stop reason; SDKs raise on `error`."""
    return {"type": "api_error", "message": f"the answer was cancelled ({by})", "details": {"error_code": "cancelled"}}
