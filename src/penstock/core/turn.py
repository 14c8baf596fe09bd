"""What an answer said, as messages of the conversation it belongs to: how the next question goes on from it.

Choice 0 alone goes on. What only one protocol has words for stays boxed (`penstock.core.carried`). A call whose arguments
broke off is left out: no provider would read it.
"""

from __future__ import annotations

import msgspec

from penstock.core.carried import BLOCK, BOXES, box
from penstock.core.events import Finished, Json, Opened
from penstock.core.request import Message
from penstock.core.snapshot import PartSoFar, Snapshot

_BLOCKS = {BLOCK % name: name for name in BOXES}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

SIGNED = "openai-responses"
"""In whose words signed thoughts are put: every source knows these, and finds out by the signature whose they are."""


def call_id(part: Opened | PartSoFar) -> str:
    """The id of a tool call; one made of its part's number where the provider gave none, since clients send it back with the result."""
    return part.call_id or f"call_{part.part}"


def spoken(snapshot: Snapshot) -> list[Message]:
    """The assistant's messages of an answer, in order, with the results of tools that ran on the server between them.

    Each has `content` (a text, or a list of parts), `reasoning_content` and `tool_calls` where there are any. Empty where
    nothing was said.
    """
    returned = {result.call_id: result.body for result in snapshot.tools}
    messages: list[Message] = []
    turn = _Turn()
    for part in snapshot.parts:
        if part.choice != 0:
            continue
        if part.kind != "tool_call" and any(identity in returned for identity in turn.called):
            turn.end(messages, returned)
            turn = _Turn()
        turn.add(part, complete=isinstance(snapshot.end, Finished))
    turn.end(messages, returned)
    return messages


class _Turn:
    """One assistant message while it is put together."""

    def __init__(self) -> None:
        self.content: list[Json] = []
        self.reasoning: list[str] = []
        self.calls: list[Json] = []
        self.called: list[str] = []

    def add(self, part: PartSoFar, *, complete: bool) -> None:
        match part.kind:
            case "text" if part.text:
                self.content.append({"type": "text", "text": part.text})
            case "refusal" if part.text:
                self.content.append({"type": "refusal", "refusal": part.text})
            case "reasoning" if isinstance(signature := (part.meta or {}).get("signature"), str) and signature:
                said: list[Json] = [{"type": "summary_text", "text": part.text}] if part.text else []
                self.content.append(box(SIGNED, {"type": "reasoning", "summary": said, "encrypted_content": signature}))
            case "reasoning" if part.text:
                self.reasoning.append(part.text)
            case "tool_call" if complete or _is_object(part.text):
                self.called.append(call_id(part))
                function: Json = {"name": part.name or "", "arguments": part.text}
                again = {name: value for name, value in (part.meta or {}).items() if name == "extra_content"}
                self.calls.append({"id": call_id(part), "type": "function", "function": function, **again})
            case "binary" if (name := _BLOCKS.get(part.media_type or "")) is not None:
                self.content.append(box(name, _decode(part.data)))
            case _:
                pass  # empty, broken off, or a medium that no request carries back

    def end(self, messages: list[Message], returned: dict[str, Json]) -> None:
        message: Message = {"role": "assistant"}
        if self.content:
            message["content"] = _plain(self.content)
        if self.reasoning:
            message["reasoning_content"] = "\n\n".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = self.calls
            message.setdefault("content", None)
        if len(message) > 1:
            message.setdefault("content", "")
            messages.append(message)
        for identity in self.called:
            if identity in returned:
                body = returned[identity]
                text = body if isinstance(body, str) else _encode(body).decode()
                messages.append({"role": "tool", "tool_call_id": identity, "content": text})


def _plain(content: list[Json]) -> Json:
    """A text where the content is one text alone: every protocol reads that."""
    only = content[0]
    return only["text"] if len(content) == 1 and isinstance(only, dict) and only["type"] == "text" else content


def _is_object(text: str) -> bool:
    try:
        return isinstance(_decode(text), dict)
    except msgspec.DecodeError:
        return False
