"""Anthropic Messages, read as platform.claude.com/docs/en/build-with-claude/streaming lays it down: blocks in order, one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received

_KINDS = {"text": "text", "thinking": "reasoning", "tool_use": "tool_call"}
_DELTAS = {
    "text_delta": ("text", "text"),
    "citations_delta": ("text", "citation"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
"""The type of block each delta belongs to, and the member that holds what it adds."""


def read_anthropic(messages: Iterable[Received]) -> Reading:
    """Blocks added up by index. Raises `Illegal` for whatever a strict client would not take."""
    reading = Reading()
    state = "new"
    """`new` → `between` blocks ⇄ `within` one → `stopping` → `over`."""
    count = 0
    block = ""
    for received in messages:
        event: Any = received.value
        kind = event["type"]
        if received.event and received.event != kind:
            raise Illegal(f"an event called {received.event!r} of the type {kind!r}")
        if state == "over":
            raise Illegal(f"{kind} after the end")
        match kind:
            case "ping":
                pass
            case "error":
                _need(isinstance(event["error"]["type"], str) and isinstance(event["error"]["message"], str), event)
                reading.ending, state = event, "over"
            case "message_start":
                _need(state == "new" and event["message"]["content"] == [], event)
                _need(event["message"]["stop_reason"] is None, event)
                state = "between"
            case "content_block_start":
                _need(state == "between" and event["index"] == count, event)
                block = event["content_block"]["type"]
                state = "within"
                begun = event["content_block"]
                name = (begun["id"], begun["name"]) if block == "tool_use" else ()
                reading.part(count, 0, _KINDS.get(block, block), *name)
                if block in _KINDS:
                    _need(not begun.get("text") and not begun.get("thinking") and not begun.get("input"), event)
                else:
                    reading.parts[count].closed = begun
            case "content_block_delta":
                _need(state == "within" and event["index"] == count, event)
                belongs, member = _DELTAS[event["delta"]["type"]]
                _need(belongs == block, event)
                said = event["delta"][member]
                if member in ("citation", "signature"):
                    reading.parts[count].closed = [*(reading.parts[count].closed or []), said]
                else:
                    _need(reading.parts[count].closed is None, event)
                    reading.parts[count].text += said
            case "content_block_stop":
                _need(state == "within" and event["index"] == count, event)
                state = "between"
                count += 1
            case "message_delta":
                _need(state == "between" and isinstance(event["delta"]["stop_reason"], str), event)
                _need(isinstance(event["usage"]["output_tokens"], int), event)
                reading.others.append((event["delta"], event["usage"]))
                state = "stopping"
            case "message_stop":
                _need(state == "stopping", event)
                reading.ending, state = event, "over"
            case _:
                raise Illegal(f"an event of no known type: {event!r}")
    return reading


def whole_anthropic(value: Any) -> str:
    """The words in a whole message."""
    return "\n\n".join(block["text"] for block in value["content"] if block["type"] == "text" and block["text"])


def _need(legal: bool, event: Any) -> None:
    if not legal:
        raise Illegal(f"out of place: {event!r}")
