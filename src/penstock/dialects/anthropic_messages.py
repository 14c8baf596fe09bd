"""The conversation of an Anthropic request → messages in the shape of OpenAI chat. The table is in `anthropic_request`.

One Anthropic message may become several: the results of tools at the beginning of a user's message are messages of the role
`tool`. Consecutive messages of one role are one turn, to Anthropic as well, so what was one message can be made one again.
"""

from __future__ import annotations

import binascii

import msgspec

from penstock.core.carried import box
from penstock.core.events import Json
from penstock.core.request import Message
from penstock.core.signed_call import unsigned
from penstock.dialects.anthropic_fields import (
    Object,
    an_array,
    an_object,
    is_object,
    kind,
    one_of,
    quoted,
    text,
    without,
    wrong,
)

NAME = "anthropic"
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
LARGEST_IMAGE = 10 * 1024 * 1024
"""Bytes of one image in base64; Anthropic takes no larger one."""


def read_system(value: Json, places: dict[str, str]) -> Message:
    """The system prompt, as the first message: text, or text blocks."""
    places["messages[0]"] = "system"
    return {"role": "system", "content": _texts(value, "system")}


def read_messages(value: Json, messages: list[Message], places: dict[str, str]) -> None:
    """Add the conversation to the messages, and where each of them and of their parts was said. Raises `Refused`."""
    calls = _Calls()
    entries = an_array(value, "messages")
    if not entries:
        raise wrong("messages", "at least one message is required")
    for index, entry in enumerate(entries):
        where = f"messages.{index}"
        fields = an_object(entry, where)
        if "role" not in fields:
            raise wrong(f"{where}.role", "field required")
        role = one_of(fields["role"], ("user", "assistant", "system"), f"{where}.role")
        if "content" not in fields:
            raise wrong(f"{where}.content", "field required")
        content = fields["content"]
        rest = without(fields, "role", "content")
        at = len(messages)
        places[f"messages[{at}]"] = where
        where = f"{where}.content"
        calls.turn(role, where)
        if not content and isinstance(content, str | list) and (role != "assistant" or index < len(entries) - 1):
            raise wrong(where, "must not be empty, but for the last message of the assistant")
        if role == "system":
            messages.append({"role": role, "content": _texts(content, where), **rest})
        elif isinstance(content, str):
            messages.append({"role": role, "content": content, **rest})
            calls.says(where)
        elif role == "user":
            messages += _user(an_array(content, where), rest, calls, where, places, at)
        else:
            messages.append(_assistant(an_array(content, where), rest, calls, where, places, at))
    calls.end(f"messages.{len(entries) - 1}.content")


class _Calls:
    """The calls that wait for a result: those of the assistant's last turn, which the user's next turn has to begin with."""

    def __init__(self) -> None:
        self._role = ""
        self._waiting: dict[str, str] = {}
        self._seen: set[str] = set()

    def turn(self, role: str, where: str) -> None:
        """A message of `role` begins."""
        if role == "assistant" and self._role != "assistant":
            self._unanswered(where)
        self._role = role

    def call(self, call_id: str, where: str) -> None:
        """A call with this id stands at `where`."""
        if call_id in self._seen:
            raise wrong(where, f"the id {quoted(call_id)} is used twice")
        self._seen.add(call_id)
        self._waiting[call_id] = where

    def answer(self, call_id: str, where: str) -> None:
        """A result of the call with this id."""
        if self._waiting.pop(call_id, None) is None:
            raise wrong(
                where, f"there is no tool_use with the id {quoted(call_id)} in the assistant's message before it"
            )

    def says(self, where: str) -> None:
        """The user says something that is no result, so that all results must have been given."""
        if self._role == "user":
            self._unanswered(where)

    def end(self, where: str) -> None:
        """No message follows."""
        self.says(where)

    def _unanswered(self, where: str) -> None:
        for call_id in self._waiting:
            raise wrong(
                where, f"the tool_use {quoted(call_id)} has no tool_result; results come first in the next user message"
            )


def _texts(value: Json, where: str) -> Json:
    """Text, or text blocks, which have the shape of our text parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(where, f"must be a string or an array of text blocks, not {kind(value)}")
    parts: list[Json] = []
    for index, block in enumerate(value):
        here = f"{where}.{index}"
        fields = an_object(block, here)
        one_of(fields.get("type"), ("text",), f"{here}.type")
        text(fields, "text", here)
        parts.append(fields)
    return parts


def _user(
    blocks: list[Json], rest: Object, calls: _Calls, where: str, places: dict[str, str], at: int
) -> list[Message]:
    messages: list[Message] = []
    parts: list[Json] = []
    for index, block in enumerate(blocks):
        here = f"{where}.{index}"
        fields = an_object(block, here)
        if text(fields, "type", here) != "tool_result":
            calls.says(here)
            if not parts:
                places[f"messages[{at + len(messages)}]"] = where.removesuffix(".content")
            places[f"messages[{at + len(messages)}].content[{len(parts)}]"] = here
            parts.append(_part(fields, here))
            continue
        places[f"messages[{at + len(messages)}]"] = here
        call_id = text(fields, "tool_use_id", here)
        if parts:
            raise wrong(here, "the tool_result blocks of a message must come before all others")
        calls.answer(call_id, f"{here}.tool_use_id")
        messages.append(_result(fields, call_id, here, places, at + len(messages)))
    if parts:
        messages.append({"role": "user", "content": parts, **rest})
    elif rest:
        messages[-1].update(rest)
    return messages


def _result(fields: Object, call_id: str, where: str, places: dict[str, str], at: int) -> Message:
    content = fields.get("content")
    if content is None:
        content = ""
    elif isinstance(content, list):
        parts: list[Json] = []
        for index, block in enumerate(content):
            places[f"messages[{at}].content[{index}]"] = here = f"{where}.content.{index}"
            inner = an_object(block, here)
            text(inner, "type", here)
            parts.append(_part(inner, here))
        content = parts
    elif not isinstance(content, str):
        raise wrong(f"{where}.content", f"must be a string or an array of blocks, not {kind(content)}")
    if "is_error" in fields and not isinstance(fields["is_error"], bool):
        raise wrong(f"{where}.is_error", f"must be a boolean, not {kind(fields['is_error'])}")
    rest = without(fields, "type", "tool_use_id", "content")
    return {"role": "tool", "tool_call_id": unsigned(call_id)[0], "content": content, **rest}


def _assistant(blocks: list[Json], rest: Object, calls: _Calls, where: str, places: dict[str, str], at: int) -> Message:
    parts: list[Json] = []
    tools: list[Json] = []
    thoughts: list[str] = []
    for index, block in enumerate(blocks):
        here = f"{where}.{index}"
        fields = an_object(block, here)
        match text(fields, "type", here):
            case "tool_use":
                places[f"messages[{at}].tool_calls[{len(tools)}]"] = here
                tools.append(_call(fields, len(parts), calls, here))
            case "tool_result":
                raise wrong(f"{here}.type", "a tool_result is the user's to give, not the assistant's")
            case "thinking":
                thought = text(fields, "thinking", here)
                if fields.get("signature") or without(fields, "type", "thinking", "signature"):
                    text(fields, "signature", here)
                    places[f"messages[{at}].content[{len(parts)}]"] = here
                    parts.append(box(NAME, fields))
                else:
                    thoughts.append(thought)
            case _:
                places[f"messages[{at}].content[{len(parts)}]"] = here
                parts.append(_part(fields, here))
    message: Message = {"role": "assistant", "content": parts, **rest}
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if tools:
        if not parts:
            message["content"] = None
        # Only where something follows a call does its place have to be told.
        for tool in tools:
            if is_object(tool) and tool[NAME] == {"after": len(parts)}:
                del tool[NAME]
        message["tool_calls"] = tools
    return message


def _call(fields: Object, after: int, calls: _Calls, where: str) -> Object:
    call_id = text(fields, "id", where)
    name = text(fields, "name", where)
    if not name:
        raise wrong(f"{where}.name", "must not be empty")
    if "input" not in fields:
        raise wrong(f"{where}.input", "field required")
    arguments = msgspec.json.encode(an_object(fields["input"], f"{where}.input")).decode()
    calls.call(call_id, f"{where}.id")
    rest = without(fields, "type", "id", "name", "input")
    function: Object = {"name": name, "arguments": arguments}
    plain, again = unsigned(call_id)
    return {"id": plain, "type": "function", "function": function, NAME: {"after": after}, **rest, **again}


def _part(fields: Object, where: str) -> Json:
    """One block that is neither a call nor a result."""
    match fields["type"]:
        case "text":
            text(fields, "text", where)
            return fields
        case "image":
            return _image(fields, where)
        case "document":
            return _document(fields, where)
        case "tool_use":
            raise wrong(f"{where}.type", "a tool_use is the assistant's to make, not the user's")
        case "tool_result":
            raise wrong(f"{where}.type", "a tool_result cannot stand within another")
        case "redacted_thinking":
            text(fields, "data", where)
        case _:
            pass
    return box(NAME, fields)


def _image(fields: Object, where: str) -> Json:
    source, here = _source(fields, where)
    match source["type"]:
        case "base64":
            media_type = one_of(source.get("media_type"), IMAGES, f"{here}.media_type")
            data = _base64(source, here)
            if len(data) > LARGEST_IMAGE:
                raise wrong(f"{here}.data", f"an image may have {LARGEST_IMAGE} bytes in base64, not {len(data)}")
            url, unread = f"data:{media_type};base64,{data}", without(source, "type", "media_type", "data")
        case "url":
            url, unread = _url(source, here), without(source, "type", "url")
        case _:
            return box(NAME, fields)
    if unread:
        return box(NAME, fields)
    return {"type": "image_url", "image_url": {"url": url}, **without(fields, "type", "source")}


def _document(fields: Object, where: str) -> Json:
    """A PDF in base64 is a file to everybody; other documents, and those to be cited, only Anthropic knows."""
    source, here = _source(fields, where)
    match source["type"]:
        case "base64":
            one_of(source.get("media_type"), ("application/pdf",), f"{here}.media_type")
            data = _base64(source, here)
        case "url":
            _url(source, here)
            return box(NAME, fields)
        case "text":
            one_of(source.get("media_type"), ("text/plain",), f"{here}.media_type")
            text(source, "data", here)
            return box(NAME, fields)
        case _:
            return box(NAME, fields)
    title = fields.get("title")
    if title is not None and not isinstance(title, str):
        raise wrong(f"{where}.title", f"must be a string, not {kind(title)}")
    rest = without(fields, "type", "source", "title")
    if rest.keys() - {"cache_control"} or without(source, "type", "media_type", "data"):
        return box(NAME, fields)
    file: Object = {"file_data": f"data:application/pdf;base64,{data}"}
    if title is not None:
        file["filename"] = title
    return {"type": "file", "file": file, **rest}


def _source(fields: Object, where: str) -> tuple[Object, str]:
    here = f"{where}.source"
    if "source" not in fields:
        raise wrong(here, "field required")
    source = an_object(fields["source"], here)
    text(source, "type", here)
    return source, here


def _base64(source: Object, where: str) -> str:
    data = text(source, "data", where)
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        raise wrong(f"{where}.data", "is not base64") from None
    if not data:
        raise wrong(f"{where}.data", "must not be empty")
    return data


def _url(source: Object, where: str) -> str:
    url = text(source, "url", where)
    if not url.startswith(("https://", "http://")):
        raise wrong(f"{where}.url", "must begin with https:// or http://")
    return url
