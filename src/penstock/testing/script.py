"""The vocabulary in which a test writes what a fake provider does: steps, and the chunks they carry.

A script is a list of steps and must end with one that ends the response: `End`, `Cut`, `Reset`, `Reply`,
`HalfClose` or `Hang`. A `Gate` is a step too: the provider stops there until the test opens it.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = Mapping[str, Any]
CREATED = 1_700_000_000
EVENT_STREAM: Mapping[str, str] = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Gate:
    """A place to stop: `reached` is set once everything before it is in the kernel, `open()` lets the script go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    def open(self) -> None:
        self.opened.set()


@dataclass(frozen=True)
class Head:
    """Status line and headers of a streamed answer; `chunked=False` leaves the body's end to the connection's."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EVENT_STREAM)
    chunked: bool = True


@dataclass(frozen=True)
class Body:
    """Bytes of the body, as one HTTP chunk where the head said chunked."""

    data: bytes


@dataclass(frozen=True)
class Raw:
    """Bytes for the socket as they are, outside all framing: broken heads, broken chunk sizes, early trailers."""

    data: bytes


@dataclass(frozen=True)
class Event:
    """One SSE event on one `data:` line: a JSON object, or a text such as `[DONE]`."""

    data: JSON | str


@dataclass(frozen=True)
class Flood:
    """`count` events as fast as the peer takes them, numbered in their text: `0 `, `1 `, `2 ` …"""

    count: int


@dataclass(frozen=True)
class Trickle:
    """The body one byte at a time: each byte waits for one `release()` of `permits`."""

    data: bytes
    permits: asyncio.Semaphore


@dataclass(frozen=True)
class Reply:
    """A whole answer with its length: errors, refusals, non-streamed completions, HTML pages. Keeps the connection."""

    status: int = 200
    body: JSON | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """The clean end: the zero chunk (the connection lives on), or FIN where the head was not chunked."""


@dataclass(frozen=True)
class Cut:
    """FIN in the middle of the body: no zero chunk."""


@dataclass(frozen=True)
class Reset:
    """RST: what the peer has not read yet it may still read, then its socket is in error."""


@dataclass(frozen=True)
class HalfClose:
    """FIN from our side only; we keep reading until the peer has gone."""


@dataclass(frozen=True)
class Hang:
    """Say nothing more until the peer has gone."""


Step = Gate | Head | Body | Raw | Event | Flood | Trickle | Reply | End | Cut | Reset | HalfClose | Hang
ENDINGS = (Reply, End, Cut, Reset, HalfClose, Hang)


def chunk(delta: JSON | None = None, *, finish: str | None = None, choice: int = 0, **more: Any) -> dict[str, Any]:
    """A `chat.completion.chunk`; `more` adds or replaces top-level keys."""
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "fake",
        "choices": [{"index": choice, "delta": dict(delta or {}), "finish_reason": finish}],
        **more,
    }


def text(piece: str, *, choice: int = 0) -> Event:
    """A chunk with more of the text of a choice."""
    return Event(chunk({"content": piece}, choice=choice))


def tool_call(index: int, arguments: str, *, call_id: str | None = None, name: str | None = None) -> Event:
    """One fragment of a tool call: the first one of an index carries `call_id` and `name`."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    fragment: dict[str, Any] = {"index": index, "function": function}
    if call_id is not None:
        fragment |= {"id": call_id, "type": "function"}
    return Event(chunk({"tool_calls": [fragment]}))


def usage_of(prompt: int, completion: int) -> dict[str, int]:
    """The `usage` object of so many tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def opening() -> list[Step]:
    """Head and role chunk: how every good stream begins."""
    return [Head(), Event(chunk({"role": "assistant", "content": ""}))]


def closing(*, finish: str = "stop", usage: JSON | None = None) -> list[Step]:
    """Finish reason, usage if given, `[DONE]`, clean end: how every good stream ends."""
    counted = [] if usage is None else [Event(chunk(choices=[], usage=usage))]
    return [Event(chunk(finish=finish)), *counted, Event("[DONE]"), End()]


def answer(*pieces: str, finish: str = "stop", usage: JSON | None = None) -> list[Step]:
    """A whole good stream saying `pieces`."""
    return [*opening(), *(text(piece) for piece in pieces), *closing(finish=finish, usage=usage)]


def completion(pieces: Iterable[str], *, usage: JSON) -> Reply:
    """The same answer for a request without `stream`."""
    message = {"role": "assistant", "content": "".join(pieces)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Reply(
        body={
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": CREATED,
            "model": "fake",
            "choices": [choice],
            "usage": usage,
        }
    )


def event_bytes(data: JSON | str) -> bytes:
    """The SSE block of an `Event`, for tests that cut it somewhere."""
    line = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {line}\n\n".encode()
