"""Chat messages as the items of a Responses request: what `openai_responses_input` makes of an `input`, the other way.

For those who ask what an answer was asked. Read again, the items are the messages they were made of.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.carried import boxed
from penstock.core.events import Json
from penstock.core.request import Message
from penstock.dialects.openai_responses_input import NAME, PARTS, Object

_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


def items_of(messages: Sequence[Message], answer: str) -> list[Json]:
    """The items of a question, in order. An item without an id of its own gets one made of the answer's and its place."""
    items = [item for message in messages for item in _items(message)]
    suffix = answer.partition("_")[2]
    return [
        {"id": f"{_PREFIXES.get(str(item['type']), 'item')}_{suffix}_in_{place}", **item}
        for place, item in enumerate(items)
    ]


def _items(message: Message) -> list[Object]:
    role = message["role"]
    if role == "assistant":
        return _spoken(message)
    if role == "tool":
        output = message["content"]
        told = output if isinstance(output, str) else [_part(part) for part in _list(output)]
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": told}]
    items: list[Object] = []
    parts: list[Json] = []
    for part in _list(message.get("content")):
        if (item := _foreign(part)) is not None:
            items.append(item)
        else:
            parts.append(_part(part))
    said: list[Object] = [{"type": "message", "role": role, "status": "completed", "content": parts}] if parts else []
    return said + items


def _spoken(message: Message) -> list[Object]:
    items: list[Object] = []
    if (thought := message.get("reasoning_content")) is not None:
        items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": thought}]})
    parts: list[Json] = []
    said: Object = {"type": "message", "role": "assistant", "status": "completed", "content": parts}
    for part in _list(message.get("content")):
        if (item := _foreign(part)) is not None:
            items.append(item)
            continue
        if not parts:
            items.append(said)
        parts.append(_part(part, spoken=True))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and isinstance(function := call.get("function"), dict):
            told: Object = {"name": function.get("name"), "arguments": function.get("arguments")}
            items.append({"type": "function_call", "status": "completed", "call_id": call.get("id"), **told})
    return items


def _foreign(part: Json) -> Object | None:
    """The item in a box; None for a part, boxed or not."""
    item = part[NAME] if boxed(part) == NAME and isinstance(part, dict) else None
    return item if isinstance(item, dict) and item.get("type") not in PARTS else None


def _part(part: Json, *, spoken: bool = False) -> Json:
    if not isinstance(part, dict):
        return part
    if boxed(part) == NAME:
        return part[NAME]
    rest: Object = {name: value for name, value in part.items() if name not in ("type", part["type"])}
    match part["type"]:
        case "text":
            told: Object = {"text": part["text"]}
            return (
                {"type": "output_text", **told, "annotations": [], **rest}
                if spoken
                else {"type": "input_text", **told, **rest}
            )
        case "image_url":
            image = part["image_url"]
            shown = image if isinstance(image, dict) else {}
            detail: Object = {"detail": shown.get("detail", "auto")}
            return {"type": "input_image", "image_url": shown.get("url"), **detail, **rest}
        case "file":
            file = part["file"]
            return {"type": "input_file", **(file if isinstance(file, dict) else {}), **rest}
    return part


def _list(content: Json) -> list[Json]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if isinstance(content, str) else []
