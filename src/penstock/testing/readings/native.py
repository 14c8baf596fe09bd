"""The native dialect, read as it is written down in `protocols/native/SPEC.md`."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Reading
from penstock.testing.wire import Received


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


def whole_native(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    texts = [part for part in value.get("parts", ()) if part["kind"] == "text" and not part.get("choice")]
    return "\n\n".join(part["text"] for part in texts if part.get("text"))
