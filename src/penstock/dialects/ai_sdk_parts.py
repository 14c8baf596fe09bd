"""The parts of an answer as the AI SDK has them: what opens them, what closes them, and what they are in a whole `UIMessage`.

What the SDK has no member for stands in `providerMetadata.penstock`: the `author` of a part, the `signature` of its reasoning,
the `extra_content` of a call, that its words are a `refusal`. A client sends it back with the message, and
`penstock.dialects.ai_sdk_request` reads it there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

import msgspec
import orjson

from penstock.core.carried import BLOCK, BOXES
from penstock.core.events import Json, Opened, ToolReturned
from penstock.core.frame import Frame, one_line
from penstock.core.snapshot import PartSoFar
from penstock.core.turn import call_id

OURS = "penstock"
"""Whose `providerMetadata` it is."""

_BLOCKS = frozenset(BLOCK % name for name in BOXES)
_encode = msgspec.json.Encoder().encode


class Shown:
    """One part that is told, while it grows."""

    __slots__ = ("before", "closed", "pieces")

    def __init__(self) -> None:
        self.closed = False
        self.before = b""
        """What stands before the words of a delta; they end in a brace."""
        self.pieces: list[str] | None = None
        """Where the words are gathered that are told once more at the end."""

    def opening(self) -> list[Frame]:
        """What is said when the part opens, or opens again for a parser that is new."""
        return []

    def close(self, meta: Mapping[str, Json] | None) -> None:
        """Take note that it is complete."""
        self.closed = True

    def closing(self, meta: Mapping[str, Json] | None) -> list[Frame]:
        """What is said when it is complete."""
        return []

    def add(self, data: bytes) -> None:
        """More of a file."""

    def recall(self, part: PartSoFar) -> None:
        """Learn what was said of it before."""

    def whole(self, part: PartSoFar, result: ToolReturned | None) -> list[Json]:
        """Its parts of a whole message, with the `result` of the call where it is one and has one."""
        return []


class Speech(Shown):
    """Words: text, reasoning, or a refusal, which is text that says so."""

    __slots__ = ("_id", "_kind", "_ours")

    def __init__(self, opened: Opened):
        super().__init__()
        self._kind = "reasoning" if opened.kind == "reasoning" else "text"
        self._id = str(opened.part)
        self._ours: dict[str, Json] = {"author": opened.author} if opened.author is not None else {}
        if opened.kind == "refusal":
            self._ours["refusal"] = True
        self.before = b'{"type":"%b-delta","id":"%d","delta":' % (self._kind.encode(), opened.part)

    def opening(self) -> list[Frame]:
        return [Frame(_encode({"type": f"{self._kind}-start", "id": self._id, **_metadata(self._ours)}))]

    def closing(self, meta: Mapping[str, Json] | None) -> list[Frame]:
        end: dict[str, Json] = {"type": f"{self._kind}-end", "id": self._id, **_metadata(self._signed(meta))}
        return [Frame(_encode(end)), *(Frame(_encode(source)) for source in _sources(self._id, meta))]

    def whole(self, part: PartSoFar, result: ToolReturned | None) -> list[Json]:
        said: dict[str, Json] = {"type": self._kind, "text": part.text, "state": "done"}
        return [{**said, **_metadata(self._signed(part.meta))}, *_sources(self._id, part.meta)]

    def _signed(self, meta: Mapping[str, Json] | None) -> dict[str, Json]:
        signature = meta.get("signature") if meta else None
        return {**self._ours, "signature": signature} if isinstance(signature, str) else self._ours


class Call(Shown):
    """A tool call. Its input is told whole when the arguments are complete."""

    __slots__ = ("_ours", "id", "name", "told")

    def __init__(self, opened: Opened):
        super().__init__()
        self.id = call_id(opened)
        self.name = opened.name or ""
        self.pieces = []
        self._ours: dict[str, Json] = {}
        self.told = False
        """The input was told, or that it is none."""
        self.before = b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":' % orjson.dumps(self.id)

    @property
    def arguments(self) -> str:
        """What has come of the arguments, until they were told."""
        return "".join(self.pieces or ())

    def opening(self) -> list[Frame]:
        start: dict[str, Json] = {"type": "tool-input-start", "toolCallId": self.id, "toolName": self.name}
        return [Frame(_encode(start))]

    def close(self, meta: Mapping[str, Json] | None) -> None:
        super().close(meta)
        self._ours = _again(meta)

    def recall(self, part: PartSoFar) -> None:
        self.pieces = [part.text] if part.text else []

    def tell(self) -> Frame:
        """The input, as the value it is; without arguments an empty object."""
        told = _input(self.arguments)
        if told is None:
            return self.error("the arguments of the call are not JSON")
        self.told, self.pieces = True, []
        named = orjson.dumps(self.id), orjson.dumps(self.name), told
        again = b',"providerMetadata":%b' % _encode({OURS: self._ours}) if self._ours else b""
        return Frame(b'{"type":"tool-input-available","toolCallId":%b,"toolName":%b,"input":%b%b}' % (*named, again))

    def error(self, why: str) -> Frame:
        """The call cannot be made."""
        error: dict[str, Json] = {"toolCallId": self.id, "toolName": self.name, "input": self.arguments}
        self.told, self.pieces = True, []
        return Frame(_encode({"type": "tool-input-error", **error, "errorText": why}))

    def whole(self, part: PartSoFar, result: ToolReturned | None) -> list[Json]:
        told: dict[str, Json] = {"type": f"tool-{self.name}", "toolCallId": self.id}
        value = _input(part.text)
        if value is None:
            why = "the arguments of the call are not JSON"
            return [{**told, "state": "output-error", "rawInput": part.text, "errorText": why}]
        told["input"] = msgspec.json.decode(value)
        if ours := _again(part.meta):
            told["callProviderMetadata"] = {OURS: ours}
        if result is None:
            return [{**told, "state": "input-available"}]
        if result.ok:
            return [{**told, "state": "output-available", "output": result.body}]
        return [{**told, "state": "output-error", "errorText": _error_text(result.body)}]


class File(Shown):
    """Bytes, told as a data URL (RFC 2397) when they are complete: a chunk of the SDK holds a file whole."""

    __slots__ = ("_data", "_media_type")

    def __init__(self, opened: Opened):
        super().__init__()
        self._media_type = opened.media_type or "application/octet-stream"
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data

    def recall(self, part: PartSoFar) -> None:
        self._data[:] = part.data

    def closing(self, meta: Mapping[str, Json] | None) -> list[Frame]:
        return [Frame(_encode(self._told(self._data)))]

    def whole(self, part: PartSoFar, result: ToolReturned | None) -> list[Json]:
        return [self._told(part.data)]

    def _told(self, data: bytes | bytearray) -> Json:
        url = f"data:{self._media_type};base64,{base64.b64encode(data).decode()}"
        return {"type": "file", "url": url, "mediaType": self._media_type}


def shown(opened: Opened) -> Shown | None:
    """The part, if it is told: a UI message has no other choices, and no words for what one protocol alone can say."""
    if opened.choice:
        return None
    match opened.kind:
        case "tool_call":
            return Call(opened)
        case "binary":
            return None if opened.media_type in _BLOCKS else File(opened)
        case _:
            return Speech(opened)


def output(call: str, result: ToolReturned) -> Frame:
    """The result of a call."""
    if result.ok:
        return Frame(_encode({"type": "tool-output-available", "toolCallId": call, "output": result.body}))
    return Frame(_encode({"type": "tool-output-error", "toolCallId": call, "errorText": _error_text(result.body)}))


def _input(arguments: str) -> bytes | None:
    """The arguments as one line of JSON; None where they are none."""
    text = arguments.strip() or "{}"
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return one_line(text.encode())


def _error_text(body: Json) -> str:
    return body if isinstance(body, str) else _encode(body).decode()


def _again(meta: Mapping[str, Json] | None) -> dict[str, Json]:
    extra = meta.get("extra_content") if meta else None
    return {"extra_content": extra} if extra is not None else {}


def _metadata(ours: dict[str, Json]) -> dict[str, Json]:
    return {"providerMetadata": {OURS: ours}} if ours else {}


def _sources(part: str, meta: Mapping[str, Json] | None) -> Iterator[dict[str, Json]]:
    """What the words of a part lean on: a `source-url` each, or a `source-document` where there is no address."""
    citations = meta.get("citations") if meta else None
    for number, citation in enumerate(citations if isinstance(citations, list) else ()):
        if not isinstance(citation, dict):
            continue
        url, title, quote = citation.get("url"), citation.get("title"), citation.get("quote")
        source: dict[str, Json] = {"sourceId": f"{part}-{number}"}
        named = isinstance(title, str) and bool(title)
        if isinstance(url, str) and url:
            source |= {"type": "source-url", "url": url, **({"title": title} if named else {})}
        else:
            source |= {"type": "source-document", "mediaType": "text/plain", "title": title if named else "document"}
        theirs: dict[str, Json] = {name: citation[name] for name in BOXES if isinstance(citation.get(name), dict)}
        if isinstance(quote, str):
            theirs[OURS] = {"quote": quote}
        yield {**source, **({"providerMetadata": theirs} if theirs else {})}
