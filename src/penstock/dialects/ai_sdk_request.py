"""Reads what `useChat` sends: UI messages, turned into the messages of OpenAI chat as the SDK's `convertToModelMessages` does it.

A UI message is a list of parts, in steps. Each step of the assistant becomes one assistant message, with the results of its
calls behind it. What only the page shows is not for the model: `step-start`, `source-…` and `data-…` parts, the message's `id`
and `metadata`, and calls whose input had not come to its end. A part of a kind that is not known is refused by its name.
Fields of the body beside these are parameters of the model under their OpenAI chat names, but for `system`, a text that stands
before the messages.
"""

from __future__ import annotations

import msgspec

from penstock.core.body import read_chat, take
from penstock.core.carried import box
from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.dialects.ai_sdk_earlier import Earlier
from penstock.dialects.ai_sdk_parts import OURS

LONGEST_CHAT = 255
"""Characters of a chat's id: it is kept as long as its run."""

TRIGGERS = ("submit-message", "regenerate-message")

_AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a", "x-m4a": "m4a"}
"""The formats of sound that are not called like their media type."""

Object = dict[str, Json]


def read_ui(fields: Object) -> ChatRequest:
    """The question in the fields of a body, which are used up. Raises `Refused`."""
    chat = take(fields, "id", str, "")
    if len(chat) > LONGEST_CHAT:
        raise Refused("invalid_request", f"'id' has at most {LONGEST_CHAT} characters", param="id")
    trigger = take(fields, "trigger", str, TRIGGERS[0])
    if trigger not in TRIGGERS:
        raise Refused("invalid_request", f"'trigger' is {' or '.join(TRIGGERS)}, not {trigger[:64]!r}", param="trigger")
    take(fields, "messageId", str, "")
    system = take(fields, "system", str, "")
    given = fields.get("messages")
    if not isinstance(given, list):
        raise Refused("invalid_request", "'messages' is required: a list of {role, parts}", param="messages")
    said: list[Json] = [{"role": "system", "content": system}] if system else []
    places = {"messages[0]": "system"} if system else {}
    for index, each in enumerate(given):
        messages = _messages(each, f"messages[{index}]")
        places |= {f"messages[{at}]": f"messages[{index}]" for at in range(len(said), len(said) + len(messages))}
        said += messages
    fields["messages"] = said
    last = given[-1] if given else None
    goes_on = isinstance(last, dict) and last.get("role") == "assistant" and trigger != TRIGGERS[1]
    return msgspec.structs.replace(
        read_chat(fields),
        dialect="ai-sdk",
        chat=chat,
        places=places,
        echo=_earlier(last).echo() if goes_on and isinstance(last, dict) else b"",
    )


def _earlier(message: Object) -> Earlier:
    """The message of the client that the answer adds to."""
    name, parts = message.get("id"), message.get("parts")
    if not isinstance(name, str) or not isinstance(parts, list):
        return Earlier()
    return Earlier(name, [part for part in parts if isinstance(part, dict)])


def _messages(message: Json, where: str) -> list[Json]:
    """What one UI message is for the model; a message that has `content` and no `parts` is one already."""
    if not isinstance(message, dict):
        raise Refused("invalid_request", f"'{where}' must be an object", param=where)
    if "parts" not in message:
        if "content" not in message:
            raise Refused("invalid_request", f"'{where}' needs 'parts', a list", param=f"{where}.parts")
        return [message]
    given = message["parts"]
    if not isinstance(given, list):
        raise Refused("invalid_request", f"'{where}.parts' must be a list", param=f"{where}.parts")
    parts = [_part(part, f"{where}.parts[{index}]") for index, part in enumerate(given)]
    match message.get("role"):
        case "system":
            texts = [_text(part, "text", place) for part, kind, place in parts if kind == "text"]
            return [{"role": "system", "content": "".join(texts)}]
        case "user":
            return [_user(parts, f"{where}.parts")]
        case "assistant":
            return _assistant(parts)
        case _:
            raise Refused(
                "invalid_request",
                f'\'{where}.role\' must be "system", "user" or "assistant"',
                param=f"{where}.role",
            )


Placed = tuple[Object, str, str]
"""A part, its kind (`tool` for every call), and where it stands in the request."""

_ONLY_SHOWN = ("source-", "data-")
_KINDS = frozenset({"text", "reasoning", "file", "step-start"})


def _part(part: Json, where: str) -> Placed:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        raise Refused("invalid_request", f"'{where}' must be an object with a 'type'", param=where)
    if kind in _KINDS:
        return part, kind, where
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        return part, "tool", where
    if kind.startswith(_ONLY_SHOWN):
        return part, "shown", where
    raise Refused(
        "invalid_request",
        f"'{where}' is a part of the kind {kind[:64]!r}, which cannot be given to a model; there are text, reasoning, file, "
        "tool-…, dynamic-tool, step-start, source-… and data-…",
        param=f"{where}.type",
    )


def _user(parts: list[Placed], where: str) -> Message:
    content: list[Json] = []
    for part, kind, place in parts:
        if kind == "text":
            content.append({"type": "text", "text": _text(part, "text", place)})
        elif kind == "file":
            content.append(_file(part, place))
        elif kind == "tool":
            raise Refused("invalid_request", f"'{place}': calls of tools stand in assistant messages", param=place)
    if not content:
        raise Refused("invalid_request", f"'{where}' holds nothing to be answered: add a text or a file", param=where)
    return {"role": "user", "content": _content(content)}


def _assistant(parts: list[Placed]) -> list[Json]:
    steps: list[list[Placed]] = [[]]
    for placed in parts:
        if placed[1] == "step-start":
            steps.append([])
        else:
            steps[-1].append(placed)
    return [message for step in steps for message in _step(step)]


def _step(parts: list[Placed]) -> list[Json]:
    """One assistant message, and a tool message for each of its calls; nothing where the step says nothing."""
    content: list[Json] = []
    thought: list[str] = []
    calls: list[Json] = []
    results: list[Json] = []
    for part, kind, place in parts:
        if kind == "text":
            text = _text(part, "text", place)
            refusal = _ours(part).get("refusal") is True
            content.append({"type": "refusal", "refusal": text} if refusal else {"type": "text", "text": text})
        elif kind == "reasoning":
            text = _text(part, "text", place)
            signed = _signed(text, part)
            if signed is not None:
                content.append(signed)
            elif text:
                thought.append(text)
        elif kind == "file":
            content.append(_file(part, place))
        elif kind == "tool" and part.get("state") != "input-streaming":
            call = _text(part, "toolCallId", place)
            extra = _ours(part, "callProviderMetadata").get("extra_content")
            again: Object = {"extra_content": extra} if extra is not None else {}
            calls.append({"id": call, "type": "function", "function": _function(part, place), **again})
            results.append({"role": "tool", "tool_call_id": call, **_result(part, call, place)})
    if not (content or thought or calls):
        return []
    message: Object = {"role": "assistant", "content": _content(content) if content else None}
    if thought:
        message["reasoning_content"] = "\n\n".join(thought)
    if calls:
        message["tool_calls"] = calls
    return [message, *results]


def _content(content: list[Json]) -> Json:
    """A single text as it is: not every server of OpenAI chat reads lists."""
    only = content[0] if len(content) == 1 else None
    return only["text"] if isinstance(only, dict) and only.get("type") == "text" else content


def _file(part: Object, where: str) -> Json:
    """Pictures by any URL, sound and files by data URL (RFC 2397); a file elsewhere is boxed, since OpenAI chat has no words for it."""
    url, media_type = _text(part, "url", where), _text(part, "mediaType", where)
    kind, _, subtype = media_type.partition(";")[0].strip().lower().partition("/")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    if not url.startswith("data:"):
        return box("ai-sdk", part)
    if kind == "audio":
        head, comma, data = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise Refused("invalid_request", f"'{where}.url' must be a data URL in base64", param=f"{where}.url")
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO.get(subtype, subtype)}}
    name = part.get("filename")
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if isinstance(name, str) else {})}}


def _function(part: Object, where: str) -> Object:
    kind = _text(part, "type", where)
    name = _text(part, "toolName", where) if kind == "dynamic-tool" else kind.removeprefix("tool-")
    given = part.get("input")
    if given is None and part.get("state") == "output-error":
        given = part.get("rawInput")
        if isinstance(given, str):
            return {"name": name, "arguments": given}  # what the model wrote, which is no JSON
    return {"name": name, "arguments": _json({} if given is None else given)}


def _result(part: Object, call: str, where: str) -> Object:
    """The content of a tool message. Raises `Refused` for a call without a result: every provider would, in other words."""
    state, approval = part.get("state"), part.get("approval")
    answered = approval if isinstance(approval, dict) else {}
    denied = state == "output-denied" or (state == "approval-responded" and answered.get("approved") is False)
    match state:
        case _ if denied:
            why = answered.get("reason")
            return {"content": why if isinstance(why, str) and why else "Tool call execution denied.", "is_error": True}
        case "output-available":
            given = part.get("output")
            return {"content": given if isinstance(given, str) else _json(given)}
        case "output-error":
            return {"content": _text(part, "errorText", where), "is_error": True}
        case "input-available" | "approval-requested" | "approval-responded":
            raise Refused(
                "invalid_request",
                f"the call {call[:64]!r} in '{where}' has no result: give it one with addToolOutput before the next message is sent",
                param=f"{where}.output",
            )
        case _:
            raise Refused("invalid_request", f"'{where}.state' is none that a call can be in", param=f"{where}.state")


def _signed(thought: str, part: Object) -> Json:
    """Reasoning that its provider wants to see again, in the words of that provider; None where it carries no signature."""
    signature = _ours(part).get("signature")
    if not isinstance(signature, str) or not signature:
        return None
    if signature.startswith("rs_"):
        item, _, encrypted = signature.partition(":")
        summary: list[Json] = [{"type": "summary_text", "text": thought}] if thought else []
        return box(
            "openai-responses", {"type": "reasoning", "id": item, "summary": summary, "encrypted_content": encrypted}
        )
    return box("anthropic", {"type": "thinking", "thinking": thought, "signature": signature})


def _ours(part: Object, where: str = "providerMetadata") -> Object:
    """What we said of a part when it was ours."""
    metadata = part.get(where)
    ours = metadata.get(OURS) if isinstance(metadata, dict) else None
    return ours if isinstance(ours, dict) else {}


def _text(part: Object, name: str, where: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise Refused("invalid_request", f"'{where}.{name}' must be a text", param=f"{where}.{name}")
    return value


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()
