"""The native dialect, read as strictly as `protocols/native/SPEC.md` allows: parts open, speak and close, and one word is the last."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received

ENDS = ("finished", "failed", "cancelled")


def read_native(messages: Iterable[Received]) -> Reading:
    """The events as they are; after a `gap` everything is told anew. Raises `Illegal`."""
    client = _Client()
    for message in messages:
        client.take(message)
    return client.reading


class _Client:
    """What a client knows of one run."""

    def __init__(self) -> None:
        self._anew()

    def _anew(self) -> None:
        self.reading = Reading()
        self._open: dict[int, str] = {}
        """The parts that are open, and of what kind each is."""
        self._started = False
        self._usage: Any = None
        """The last account of tokens, where there was one."""

    def take(self, message: Received) -> None:
        """One message. Raises `Illegal`."""
        value: Any = message.value
        if self.reading.ending is not None:
            raise Illegal(f"{value!r} follows {self.reading.ending!r}")
        if isinstance(value, bytes):
            self._said(message.part, binary=True)
            self.reading.parts[message.part].data += value
            return
        match value["type"]:
            case "gap":
                self._anew()
            case "started":
                if self._started or self._open:
                    raise Illegal("started comes once, before all parts")
                self._started = True
                self.reading.others.append(value)
            case "opened":
                self._opened(value)
            case "delta":
                self._said(value["part"], binary=False)
                part = self.reading.parts[value["part"]]
                part.text += value["text"]
                part.logprobs += [value["logprobs"]] if "logprobs" in value else []
            case "chunk":
                self._said(value["part"], binary=True)
                self.reading.parts[value["part"]].data += base64.b64decode(value["data"])
            case "closed":
                if self._open.pop(value["part"], None) is None:
                    raise Illegal(f"part {value['part']} is closed and was not open")
                self.reading.parts[value["part"]].closed = value.get("meta", True)
            case kind if kind in ENDS:
                if self._open:
                    raise Illegal(f"{kind} while parts {sorted(self._open)} are open")
                if self._usage is not None and value.get("usage") != self._usage:
                    raise Illegal(f"the last account was {self._usage!r}, and {kind} says {value.get('usage')!r}")
                self.reading.ending = value
            case "note" | "tool_returned":
                self.reading.others.append(value)
            case "usage":
                self._usage = {name: value[name] for name in value if name not in ("id", "stream")}
                self.reading.others.append(value)
            case kind:
                raise Illegal(f"no event is called {kind!r}")

    def _opened(self, event: Any) -> None:
        number = event["part"]
        if number in self.reading.parts:
            raise Illegal(f"part {number} is opened twice")
        self._open[number] = event["kind"]
        rest = tuple(event.get(name) for name in ("author", "name", "call_id", "media_type"))
        self.reading.part(number, event.get("choice", 0), event["kind"], *rest)

    def _said(self, part: int, *, binary: bool) -> None:
        kind = self._open.get(part)
        if kind is None:
            raise Illegal(f"part {part} says something and is not open")
        if (kind == "binary") != binary:
            raise Illegal(f"part {part} is {kind}")


def whole_native(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    texts = [part for part in value.get("parts", ()) if part["kind"] == "text" and not part.get("choice")]
    return "\n\n".join(part["text"] for part in texts if part.get("text"))
