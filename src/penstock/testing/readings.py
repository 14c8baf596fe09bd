"""What a client makes of a run, dialect by dialect: the messages added up, so that two ways of telling it can be compared.

These are the naive clients of the documentation: they concatenate, and know nothing of merging, resuming or positions.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any, assert_never

import msgspec

from penstock.core.cursor import Entry
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Finished,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.testing.wire import Received


class Part(msgspec.Struct):
    """One part of a reading; `key` tells what it is and of which choice."""

    key: tuple[Any, ...]
    text: str = ""
    data: bytes = b""
    logprobs: list[Any] = []
    closed: Any = None


class Reading(msgspec.Struct):
    """Everything a client has, in a form in which equal answers are equal."""

    parts: dict[Any, Part] = {}
    others: list[Any] = []
    """Whatever is not part of a part: notes, tool results, usage."""
    ending: Any = None
    """The last message; None while there is more to come."""

    def text(self, choice: int = 0, kind: str = "text") -> str:
        """The words of one choice."""
        said = (p.text for p in self.parts.values() if p.key[:2] == (choice, kind))
        return "\n\n".join(text for text in said if text)

    def part(self, name: Any, *key: Any) -> Part:
        return self.parts.setdefault(name, Part(key))


Read = Callable[[Iterable[Received]], Reading]


def read_native(messages: Iterable[Received]) -> Reading:
    """The events as they are; after a `gap` everything is told anew."""
    reading = Reading()
    for message in messages:
        if isinstance(message.value, bytes):
            reading.parts[message.part].data += message.value
            continue
        event: Any = message.value
        match event["type"]:
            case "gap":
                reading = Reading()
            case "opened":
                rest = tuple(event.get(name) for name in ("author", "name", "call_id", "media_type"))
                reading.part(event["part"], event.get("choice", 0), event["kind"], *rest)
            case "delta":
                part = reading.parts[event["part"]]
                part.text += event["text"]
                part.logprobs += [event["logprobs"]] if "logprobs" in event else []
            case "chunk":
                reading.parts[event["part"]].data += base64.b64decode(event["data"])
            case "closed":
                reading.parts[event["part"]].closed = event.get("meta", True)
            case "finished" | "failed" | "cancelled":
                reading.ending = event
            case _:
                reading.others.append(event)
    return reading


def read_openai_chat(messages: Iterable[Received]) -> Reading:
    """Chunks, added up by choice and member as the SDKs do it."""
    reading = Reading()
    for message in messages:
        chunk: Any = message.value
        if chunk == "[DONE]" or "error" in chunk:
            reading.ending = chunk
            continue
        if chunk.get("usage"):
            reading.others.append(chunk["usage"])
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            for name, kind in (("content", "text"), ("reasoning_content", "reasoning"), ("refusal", "refusal")):
                if name in delta:
                    part = reading.part((index, kind), index, kind)
                    part.text += delta[name]
                    part.logprobs += [choice["logprobs"]] if choice.get("logprobs") else []
            for call in delta.get("tool_calls", ()):
                function = call["function"]
                part = reading.part((index, "tool_call", call["index"]), index, "tool_call")
                if "id" in call:
                    part.key += (call["id"], function["name"])
                part.text += function["arguments"]
            if choice["finish_reason"] is not None:
                reading.others.append((index, choice["finish_reason"]))
                reading.ending = reading.ending or "finished"
    return reading


def read_token_done(messages: Iterable[Received]) -> Reading:
    """Tokens joined, until something is done."""
    reading = Reading()
    for message in messages:
        token: Any = message.value
        if token["done"]:
            reading.ending = token
        elif "tool_name" in token:
            reading.others.append(token)
        else:
            reading.part(0, 0, "text").text += token["token"]
    return reading


def read_plain(messages: Iterable[Received]) -> Reading:
    """The words, wherever they stand."""
    reading = Reading()
    for message in messages:
        told: Any = message.value
        if "text" in told:
            reading.part(0, 0, "text").text += told["text"]
        else:
            reading.ending = told
    return reading


READERS: dict[str, Read] = {
    "native": read_native,
    "openai-chat": read_openai_chat,
    "token-done": read_token_done,
    "plain": read_plain,
}
"""The client of each dialect of ours."""


def read_events(entries: Iterable[Entry]) -> Reading:
    """What there was to read, from the entries themselves: one part each, none left out."""
    reading = Reading()
    for entry in entries:
        match entry.event:
            case Opened() as opened:
                reading.part(opened.part, opened.choice, opened.kind)
            case Delta(part=part, text=text):
                reading.parts[part].text += text
            case Chunk(part=part, data=data):
                reading.parts[part].data += data
            case Started() | Closed():
                pass
            case Note() | ToolReturned() | Usage() as other:
                reading.others.append(other)
            case Finished() | Failed() | Cancelled() as terminal:
                reading.ending = terminal
            case _ as never:
                assert_never(never)
    return reading
