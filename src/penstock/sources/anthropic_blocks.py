"""The messages of a canonical request → `system` and `messages` of Anthropic's Messages API, block by block."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from penstock.core.carried import boxed
from penstock.core.events import Json
from penstock.core.request import Message
from penstock.sources.translation import Object, Translation, data_of, is_data, object_of, parts_of, rest_of

_SYSTEM = frozenset({"system", "developer"})
_BESIDE_CONTENT = ("role", "content", "name")
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""The media types of images the Messages API takes."""
_ASSISTANT = (
    *_BESIDE_CONTENT,
    "tool_calls",
    "refusal",
    "audio",
    "function_call",
    "annotations",
    "reasoning_content",
    "reasoning",
)
"""What an OpenAI client may send back of an answer."""


def conversation(messages: Iterable[Message], said: Translation) -> tuple[Json, list[Json]]:
    """`system` (empty for none) and `messages`. Raises `Broken(not_carried)` naming what has no block."""
    system: list[Object] = []
    turns: list[Object] = []
    for index, message in enumerate(messages):
        turn = _turn(message, f"messages[{index}]", said)
        if not turn["content"]:
            continue  # what says nothing is refused by Anthropic
        if turn["role"] == "system" and not turns:
            system.append(turn)
            for member in rest_of(turn, "role", "content"):
                said.leave(f"messages.{member}")
        elif turns and turns[-1]["role"] == turn["role"]:
            _join(turns[-1], turn)
        else:
            turns.append(turn)
    if len(system) == 1:
        return system[0]["content"], list(turns)
    return [block for turn in system for block in parts_of(turn["content"])], list(turns)


def _join(turn: Object, following: Object) -> None:
    parts = parts_of(turn["content"])  # of our own making where it is a list: it grows where it is
    parts += parts_of(following["content"])
    turn["content"] = parts
    turn.update(rest_of(following, "role", "content"))


def _turn(message: Message, where: str, said: Translation) -> Object:
    role = message.get("role")
    if role == "tool":
        return {"role": "user", "content": [_result(message, where, said)]}
    if role == "function":
        raise said.refusal("a message of the role function", f"{where}.role")
    said.forbid(message, where, "name")
    content = message.get("content")
    spoken: Json = content if isinstance(content, str) else _blocks(content, where, said)
    if role != "assistant":
        return {"role": "system" if role in _SYSTEM else role, "content": spoken, **rest_of(message, *_BESIDE_CONTENT)}
    said.forbid(message, where, "audio", "function_call")
    for member in ("annotations", "reasoning", "reasoning_content"):
        if message.get(member):
            said.leave(f"messages.{member}")
    calls = message.get("tool_calls")
    uses: dict[int | None, list[Json]] = {}
    for at, call in enumerate(calls if isinstance(calls, list) else ()):
        after = object_of(object_of(call).get("anthropic")).get("after")
        place = after if isinstance(after, int) and isinstance(content, list) and after < len(content) else None
        uses.setdefault(place, []).append(_use(object_of(call), f"{where}.tool_calls[{at}]", said))
    if uses.keys() - {None}:
        spoken = _blocks(content, where, said, before=uses)
    if refusal := message.get("refusal"):
        spoken = [*parts_of(spoken), {"type": "text", "text": refusal}]
    if None in uses:
        spoken = [*parts_of(spoken), *uses[None]]
    return {"role": role, "content": spoken, **rest_of(message, *_ASSISTANT)}


def _use(call: Object, where: str, said: Translation) -> Object:
    """A `tool_use` block."""
    if call.get("type", "function") != "function":
        raise said.refusal(f"a call of the type {call['type']}", where)
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": object_of(call.get("function")).get("name"),
        "input": said.arguments(call, where),
        **rest_of(call, "id", "type", "function", "index", "anthropic"),
    }


def _result(message: Message, where: str, said: Translation) -> Object:
    """A `tool_result` block. The name of the tool stands in the call already."""
    content = message.get("content")
    spoken: Json = content if isinstance(content, str) else _blocks(content, where, said)
    return {
        "type": "tool_result",
        "tool_use_id": message.get("tool_call_id"),
        **({"content": spoken} if spoken else {}),
        **rest_of(message, "tool_call_id", *_BESIDE_CONTENT),
    }


def _blocks(
    content: Json, where: str, said: Translation, *, before: Mapping[int | None, list[Json]] | None = None
) -> list[Json]:
    """The parts of a content as blocks. `before` holds blocks that stand before a part."""
    found: list[Json] = []
    for at, part in enumerate(content if isinstance(content, list) else ()):
        if before:
            found += before.get(at, ())
        if boxed(part) is not None:
            found.append(object_of(part)["anthropic"])
        elif (block := _block(part, f"{where}.content[{at}]", said)) is not None:
            found.append(block)
    return found


def _block(part: Json, where: str, said: Translation) -> Json:
    """A content part as a block; None where it says nothing. What is no part of OpenAI chat goes as it is."""
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case "text":
            return part if part.get("text") else None
        case "refusal":
            return {"type": "text", "text": part.get("refusal"), **rest_of(part, "type", "refusal")}
        case "image_url":
            return _image(part, where, said)
        case "file":
            return _document(part, where, said)
        case "input_audio":
            raise said.refusal("input_audio", where)
        case _:
            return part


def _image(part: Object, where: str, said: Translation) -> Object:
    stated = part.get("image_url")
    image = {"url": stated} if isinstance(stated, str) else object_of(stated)
    if image.get("detail") not in (None, "auto"):
        said.leave("image_url.detail")
    source = _source(str(image.get("url", "")), where, said)
    if source["type"] == "base64" and source["media_type"] not in _IMAGES:
        raise said.refusal(f"an image of the type {source['media_type'] or 'unknown'}", where)
    return {
        "type": "image",
        "source": source,
        **rest_of(part, "type", "image_url"),
    }


def _document(part: Object, where: str, said: Translation) -> Object:
    file = object_of(part.get("file"))
    data = file.get("file_data")
    if file.get("file_id") is not None:
        source: Object = {"type": "file", "file_id": file["file_id"]}
    elif not isinstance(data, str):
        raise said.refusal("a file without file_data or file_id", where)
    elif is_data(data) or "://" in data:
        source = _plain(_source(data, where, said), where, said)
    else:
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
    title: Object = {"title": file["filename"]} if file.get("filename") else {}
    return {"type": "document", "source": source, **title, **rest_of(part, "type", "file")}


def _source(url: str, where: str, said: Translation) -> Object:
    """Where the bytes are: in a `data:` URL, or behind a URL that the provider fetches."""
    if not is_data(url):
        return {"type": "url", "url": url}
    found = data_of(url)
    if found is None:
        raise said.refusal("a data: URL that is not base64", where)
    return {"type": "base64", "media_type": found[0], "data": found[1]}


def _plain(source: Object, where: str, said: Translation) -> Object:
    """Text is sent as text; the Messages API takes nothing but PDF as base64 of a document."""
    media_type, data = source.get("media_type"), source.get("data")
    if source["type"] == "base64" and not str(media_type).startswith(("text/", "application/pdf")):
        raise said.refusal(f"a file of the type {media_type or 'unknown'}", where)
    if not (isinstance(media_type, str) and media_type.startswith("text/") and isinstance(data, str)):
        return source
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise said.refusal("a text file that is not UTF-8", where) from None
    return {"type": "text", "media_type": "text/plain", "data": text}
