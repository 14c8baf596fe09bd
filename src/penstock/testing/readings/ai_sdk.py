"""The AI SDK's UI message stream, read as strictly as `processUIMessageStream` of the SDK, and then some.

The SDK throws at words of a part that was never opened and at the result of a call that was never made. Beyond that this client
wants one `start`, which comes first; parts within steps, each name once; nothing open when a step or the message is finished;
and one of `finish`, `abort` and `error`, with nothing behind it but `[DONE]`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received

MEMBERS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    name: (frozenset(needed.split()), frozenset(more.split()))
    for name, needed, more in (
        ("start", "messageId", "messageMetadata"),
        ("message-metadata", "messageMetadata", ""),
        ("start-step", "", ""),
        ("finish-step", "", ""),
        ("text-start", "id", "providerMetadata"),
        ("text-delta", "id delta", ""),
        ("text-end", "id", "providerMetadata"),
        ("reasoning-start", "id", "providerMetadata"),
        ("reasoning-delta", "id delta", ""),
        ("reasoning-end", "id", "providerMetadata"),
        ("tool-input-start", "toolCallId toolName", "dynamic title providerExecuted"),
        ("tool-input-delta", "toolCallId inputTextDelta", ""),
        ("tool-input-available", "toolCallId toolName input", "dynamic title providerExecuted providerMetadata"),
        ("tool-input-error", "toolCallId toolName input errorText", "dynamic title providerExecuted"),
        ("tool-output-available", "toolCallId output", "preliminary"),
        ("tool-output-error", "toolCallId errorText", ""),
        ("tool-output-denied", "toolCallId", ""),
        ("source-url", "sourceId url", "title providerMetadata"),
        ("source-document", "sourceId mediaType title", "filename providerMetadata"),
        ("file", "url mediaType", "providerMetadata"),
        ("finish", "finishReason", "messageMetadata"),
        ("abort", "reason", ""),
        ("error", "errorText", ""),
    )
}
"""The members of each chunk: those it must have, those it may have."""


def read_ai_sdk(messages: Iterable[Received]) -> Reading:
    """Chunks, added up by the names of their parts. Raises `Illegal`."""
    client = _Client()
    for message in messages:
        client.take(message.value)
    return client.reading


class _Client:
    def __init__(self) -> None:
        self.reading = Reading()
        self._begun = self._step = self._done = False
        self._open: set[str] = set()
        """The names of the texts and thoughts that are open."""
        self._calls: dict[str, str] = {}
        """For each call whether its input is `streaming` or `there`."""

    def take(self, chunk: Any) -> None:
        if self._done or (self.reading.ending is not None and chunk != "[DONE]"):
            raise Illegal(f"{chunk!r} after the end")
        if chunk == "[DONE]":
            if self.reading.ending is None:
                raise Illegal("[DONE] before the end")
            self._done = True
            return
        kind = chunk["type"]
        self._check_members(kind, chunk)
        if (kind == "start") == self._begun:
            raise Illegal(f"{kind} where the message {'has begun' if self._begun else 'has not begun'}")
        self._begun = True
        if kind in ("finish", "abort", "error"):
            if kind == "finish" and (self._step or self._open):
                raise Illegal(f"finish, and still open: {self._open or 'a step'}")
            self.reading.ending = chunk
        elif kind in ("start-step", "finish-step"):
            if (kind == "start-step") == self._step or self._open:
                raise Illegal(
                    f"{kind} where a step is {'open' if self._step else 'not open'}, and {self._open or 'no part'}"
                )
            self._step = not self._step
        elif kind in ("start", "message-metadata") or kind.startswith("data-"):
            self.reading.others.append(chunk)
        elif not self._step:
            raise Illegal(f"{kind} outside of a step")
        elif kind.startswith("tool-"):
            self._call(kind, chunk)
        elif kind == "file":
            head, _, data = chunk["url"].partition(";base64,")
            if head != f"data:{chunk['mediaType']}":
                raise Illegal(f"{chunk['url'][:80]!r} is no data URL of {chunk['mediaType']}")
            files = sum(part.key[:2] == (0, "binary") for part in self.reading.parts.values())
            self.reading.part(f"file {files}", 0, "binary", chunk["mediaType"]).data = base64.b64decode(
                data, validate=True
            )
        elif kind.startswith("source-"):
            self.reading.others.append(chunk)
        else:
            self._speech(kind.partition("-")[0], kind.partition("-")[2], chunk)

    def _check_members(self, kind: str, chunk: Any) -> None:
        given = set(chunk) - {"type"}
        if kind.startswith("data-"):
            needed, more = frozenset({"data"}), frozenset({"id", "transient"})
        elif kind in MEMBERS:
            needed, more = MEMBERS[kind]
        else:
            raise Illegal(f"there is no chunk {kind!r}")
        if not needed <= given <= needed | more:
            raise Illegal(f"{kind} with {sorted(given)}")

    def _speech(self, kind: str, what: str, chunk: Any) -> None:
        name = f"{kind} {chunk['id']}"
        if what == "start":
            if name in self.reading.parts:
                raise Illegal(f"{name} opens twice")
            ours = chunk.get("providerMetadata", {}).get("penstock", {})
            self.reading.part(name, 0, "refusal" if ours.get("refusal") else kind, ours.get("author"))
            self._open.add(name)
        elif name not in self._open:
            raise Illegal(f"{chunk['type']} for {name}, which is not open")
        elif what == "delta":
            self.reading.parts[name].text += chunk["delta"]
        else:
            self._open.remove(name)
            self.reading.parts[name].closed = chunk.get("providerMetadata", True)

    def _call(self, kind: str, chunk: Any) -> None:
        name = chunk["toolCallId"]
        state = self._calls.get(name)
        match kind.removeprefix("tool-"):
            case "input-start":
                if state is not None:
                    raise Illegal(f"call {name} opens twice")
                self._calls[name] = "streaming"
                self.reading.part(f"call {name}", 0, "tool_call", name, chunk["toolName"])
            case "input-delta":
                if state != "streaming":
                    raise Illegal(f"more input of call {name}, which is {state or 'unknown'}")
                self.reading.parts[f"call {name}"].text += chunk["inputTextDelta"]
            case "input-available" | "input-error":
                if state == "there":
                    raise Illegal(f"the input of call {name} comes twice")
                self._calls[name] = "there"
                self.reading.part(f"call {name}", 0, "tool_call", name, chunk["toolName"]).closed = chunk
            case _:
                if state != "there":
                    raise Illegal(f"the result of call {name}, which is {state or 'unknown'}")
                self.reading.others.append(chunk)


def whole_ai_sdk(value: Any) -> str:
    """The words of a whole message, but for refusals."""
    texts = [part for part in value["parts"] if part["type"] == "text"]
    said = [t["text"] for t in texts if not t.get("providerMetadata", {}).get("penstock", {}).get("refusal")]
    return "\n\n".join(text for text in said if text)
