"""Reads request bodies: JSON objects in the shape of OpenAI chat, checked field by field, refused by name.

Every dialect whose requests look like that shares this reader, so a field is refused in the same words everywhere.
"""

from __future__ import annotations

from typing import TypeGuard, TypeVar

import msgspec

from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message

DEEPEST = 64
"""Levels of nesting a body may have."""

T = TypeVar("T")
D = TypeVar("D")

_decode = msgspec.json.Decoder().decode


def read_object(body: bytes) -> dict[str, Json]:
    """The JSON object in `body`. Raises `Refused` for anything else, however deep or broken."""
    if not body.strip():
        raise Refused("invalid_json", 'the body is empty: send a JSON object such as {"prompt": "Hello"}')
    value = read_json(body)
    if not isinstance(value, dict):
        raise Refused("invalid_request", f"the body must be a JSON object, not {_kind(value)}")
    return value


def read_json(body: bytes) -> Json:
    """The JSON value in `body`, at most `DEEPEST` levels deep. Raises `Refused`."""
    try:
        value: Json = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Refused("invalid_json", f"the body is not JSON: {problem}") from None
    except RecursionError:
        raise Refused("invalid_json", f"the body is nested deeper than {DEEPEST} levels") from None
    if body.count(b"[") + body.count(b"{") > DEEPEST and _deeper(value, DEEPEST):
        raise Refused("invalid_json", f"the body is nested deeper than {DEEPEST} levels")
    return value


def read_chat(fields: dict[str, Json]) -> ChatRequest:
    """A chat request from the fields of a body, which are used up. Everything unknown stays in `params`. Raises `Refused`."""
    model = take(fields, "model", str, "") or ""
    prompt = fields.pop("prompt", None)
    messages = fields.pop("messages", None)
    if messages is None:
        if prompt is not None and not isinstance(prompt, str):
            raise Refused("invalid_request", f"'prompt' must be a text, not {_kind(prompt)}", param="prompt")
        if prompt is None:
            raise Refused(
                "invalid_request",
                "'messages' is required: a list of {role, content} (or 'prompt', a text)",
                param="messages",
            )
        messages = [{"role": "user", "content": prompt}]
    elif prompt is not None:
        raise Refused("invalid_request", "send either 'messages' or 'prompt', not both", param="prompt")
    stream = take(fields, "stream", bool, True)
    background = take(fields, "background", bool, False)
    options = take(fields, "stream_options", dict, None) or {}
    include_usage = options.get("include_usage", False)
    if not isinstance(include_usage, bool):
        raise Refused(
            "invalid_request",
            f"'stream_options.include_usage' must be a boolean, not {_kind(include_usage)}",
            param="stream_options.include_usage",
        )
    choices = fields.get("n")
    if choices is not None and (not isinstance(choices, int) or isinstance(choices, bool) or not 1 <= choices <= 128):
        raise Refused("invalid_request", "'n' must be a number from 1 to 128", param="n")
    return ChatRequest(
        model=model,
        messages=read_messages(messages),
        params=fields,
        stream=stream,
        include_usage=include_usage,
        background=background,
    )


def read_messages(value: Json, field: str = "messages") -> tuple[Message, ...]:
    """The conversation: objects with a `role`, and `content` that is text, a list of objects, or null. Raises `Refused`, naming `field`."""
    if not isinstance(value, list) or not value:
        found = "the list is empty" if value == [] else f"not {_kind(value)}"
        raise Refused("invalid_request", f"'{field}' must be a list with at least one message; {found}", param=field)
    for index, message in enumerate(value):
        where = f"{field}[{index}]"
        if not _is_object(message):
            raise Refused("invalid_request", f"'{where}' must be an object, not {_kind(message)}", param=where)
        if not isinstance(message.get("role"), str):
            raise Refused("invalid_request", f"'{where}.role' must be a text such as \"user\"", param=f"{where}.role")
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(piece, dict) for piece in content):
                raise Refused("invalid_request", f"'{where}.content' must hold objects only", param=f"{where}.content")
        elif content is not None and not isinstance(content, str):
            raise Refused(
                "invalid_request",
                f"'{where}.content' must be a text or a list, not {_kind(content)}",
                param=f"{where}.content",
            )
    return tuple(message for message in value if _is_object(message))


def take(fields: dict[str, Json], name: str, kind: type[T], default: D) -> T | D:
    """Remove and return one field of the given JSON type; `default` where it is missing or null. Raises `Refused`."""
    value = fields.pop(name, None)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise Refused("invalid_request", f"'{name}' must be {_NAMES[kind]}, not {_kind(value)}", param=name)
    return value


_NAMES: dict[type, str] = {
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _NAMES.get(type(value), "something else")


def _is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    return isinstance(value, dict)


def _deeper(value: Json, levels: int) -> bool:
    layer: list[Json] = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(value, dict | list) for value in layer)
