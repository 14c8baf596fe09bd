"""`ChatRequest` → the body of `POST /responses`, after openai-python's `types/responses/response_create_params.py`.

| of OpenAI chat | of Responses |
| --- | --- |
| a first `system` message | `instructions` |
| messages | items of `input`; an assistant's calls are `function_call` items after it, `tool` messages `function_call_output` |
| `reasoning_content` of an assistant | a `reasoning` item before it; OpenAI itself takes back none but its own, in cipher |
| `tools`, `tool_choice` | the same without their inner object; a missing `strict` is `false`, which it is not here |
| `response_format`, `verbosity` | `text.format`, `text.verbosity` |
| `max_tokens`, `max_completion_tokens` | `max_output_tokens` |
| `reasoning_effort` | `reasoning.effort` |
| `logprobs` | `include: ["message.output_text.logprobs"]` |
| `stop`, `n` > 1, `seed`, `logit_bias`, penalties … | refused by name |
| boxes of `openai-responses`, unknown fields | as they are |
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.core.carried import boxed, not_carried
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.sources.foreign import readable
from penstock.sources.provider import Question
from penstock.sources.translation import OPENAI, without_hints

NAME = "openai-responses"
Object = dict[str, Json]

REASONING = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
_CONTENT = ("input_text", "input_image", "input_file", "input_audio", "output_text", "refusal")
"""The content parts there are. Whatever else is in a box among the content of a message is an item of its own."""
_NEUTRAL: dict[str, tuple[Json, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": (),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "presence_penalty": (0,),
    "seed": (),
    "stop": ([],),
    "web_search_options": (),
}
"""Fields without a word here, and the values of theirs that ask for nothing."""
_OURS = frozenset(
    {*_NEUTRAL, NAME, "stream", "messages", "logprobs", "max_tokens", "max_completion_tokens", "response_format"}
)
_OURS |= {
    "verbosity",
    "reasoning_effort",
    "reasoning",
    "text",
    "include",
    "tools",
    "tool_choice",
    "stream_options",
    "store",
}


def question(model: str, request: ChatRequest, *, host: str) -> Question:
    """What to post. Raises `Broken(not_carried)`."""
    request, left_out = readable(request, NAME, host)
    messages = {index: without_hints(message, left_out) for index, message in enumerate(request.messages)}
    if host == OPENAI:
        _forget_thoughts(messages.values(), left_out)
    params = without_hints(request.params, left_out)
    for name, neutral in _NEUTRAL.items():
        if (value := params.get(name)) is not None and value not in neutral:
            raise not_carried(host, name, name)
    body: Object = {name: value for name, value in params.items() if name not in _OURS and value is not None}
    body["model"] = model
    if messages and (instructions := _instructions(messages[0])) is not None:
        del messages[0]
        body["instructions"] = instructions
    body["input"] = [item for index, message in messages.items() for item in _items(message, index, host)]
    body["stream"] = True
    body["store"] = params.get("store") is True
    if request.background and params.get("store") is not False:
        # Only what OpenAI keeps can be read on after a break; without `store` it takes no background.
        body["background"] = body["store"] = True
    for limit in ("max_completion_tokens", "max_tokens"):
        if params.get(limit) is not None:
            body.setdefault("max_output_tokens", params[limit])
    tools, choice = params.get("tools"), params.get("tool_choice")
    if isinstance(tools, list):
        body["tools"] = [_tool(tool) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _choice(choice)
    if text := _text(params):
        body["text"] = text
    effort = params.get("reasoning_effort")
    reasoning = {**_object(params.get("reasoning")), **({"effort": effort} if effort is not None else {})}
    if reasoning:
        body["reasoning"] = reasoning
    options = {name: value for name, value in _object(params.get("stream_options")).items() if name != "include_usage"}
    if options:
        body["stream_options"] = options
    _unbox(body, _object(params.get(NAME)))
    include = _list(params.get("include")) + _list(body.pop("include", None))
    if params.get("logprobs") is True:
        include.append(LOGPROBS)
    if "reasoning" in body and not body["store"]:
        include.append(REASONING)  # nobody keeps the thoughts but the client, who is to hand them back
    if include:
        names = dict.fromkeys(name for name in include if isinstance(name, str))
        body["include"] = [*names, *(other for other in include if not isinstance(other, str))]
    return Question(msgspec.json.encode(body), tuple(left_out))


def _forget_thoughts(messages: Iterable[Message], left_out: list[str]) -> None:
    """OpenAI looks for an item that it never gave when it is told a thought without its cipher."""
    for message in messages:
        if message.pop("reasoning_content", None) and "reasoning_content" not in left_out:
            left_out.append("reasoning_content")


def _unbox(body: Object, fields: Object) -> None:
    """Fields that only Responses knows, as the client said them; objects that chat knows a part of are completed."""
    for name, value in fields.items():
        there = body.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            body[name] = {**there, **value}
        elif isinstance(there, list) and isinstance(value, list):
            body[name] = [*there, *value]
        else:
            body[name] = value


def _instructions(message: Message) -> str | None:
    content = message.get("content")
    said = {name for name, value in message.items() if value is not None}
    return (
        content
        if message.get("role") == "system" and said == {"role", "content"} and isinstance(content, str)
        else None
    )


def _items(message: Message, index: int, host: str) -> list[Json]:
    """The items of one message, in its order. Raises `Broken(not_carried)`."""
    where = f"messages[{index}]"
    rest: Object = {name: value for name, value in message.items() if value not in (None, [], {})}
    role, content = rest.pop("role", "user"), rest.pop("content", "")
    for name in ("name", "audio", "function_call"):
        if name in rest:
            raise not_carried(host, name, f"{where}.{name}")
    if role == "tool":
        item: Object = {"type": "function_call_output", "call_id": rest.pop("tool_call_id", "")}
        item["output"] = _output(content, where, host)
        if rest.pop("is_error", False):
            item["status"] = "incomplete"  # the one word there is for a call that came to nothing
        return [{**item, **rest}]
    if role == "function":
        raise not_carried(host, "function", f"{where}.role")
    items: list[Json] = []
    if thought := rest.pop("reasoning_content", None):
        told: Json = [{"type": "reasoning_text", "text": thought}]
        items.append({"type": "reasoning", "id": f"rs_{index}", "summary": [], "content": told})
    calls, refusal, notes = rest.pop("tool_calls", []), rest.pop("refusal", None), rest.pop("annotations", None)
    parts: list[Json] = _list(content) or ([{"type": "text", "text": content}] if content else [])
    if refusal is not None:
        parts = [*parts, {"type": "refusal", "refusal": refusal}]
    plain = isinstance(content, str) and refusal is None and notes is None
    items += _messages(role, parts, rest, where, host, plain=plain, notes=notes)
    items += [_call(call, f"{where}.tool_calls[{place}]", host) for place, call in enumerate(_list(calls))]
    return items or [{"type": "message", "role": role, "content": "", **rest}]


def _messages(
    role: Json, parts: list[Json], rest: Object, where: str, host: str, *, plain: bool, notes: Json
) -> list[Json]:
    """A message, cut where an item stands among its content. What is said beside the content stands with the first piece alone:
    with each, a body of kilobytes would become one of gigabytes."""
    items: list[Json] = []
    said: list[Json] = []

    def flush() -> None:
        nonlocal rest
        if said:
            content: Json = list(said)
            if plain and isinstance(only := parts[0], dict):
                content = only["text"]
            items.append({"type": "message", "role": role, "content": content, **rest})
            said.clear()
            rest = {}

    for place, part in enumerate(parts):
        item = part[NAME] if boxed(part) == NAME and isinstance(part, dict) else None
        if isinstance(item, dict) and item.get("type") not in _CONTENT:
            flush()
            items.append(_own(item))
        elif item is not None:
            said.append(item)
        else:
            said.append(_part(part, f"{where}.content[{place}]", host, spoken=role == "assistant", notes=notes))
            if boxed(part) is None and _object(part).get("type") == "text":
                notes = None
    flush()
    return items


def _own(item: Object) -> Object:
    """An item in its protocol's own words. Encrypted thoughts go back under the id they came with, see `responses_answer`."""
    encrypted = item.get("encrypted_content")
    if item.get("type") == "reasoning" and isinstance(encrypted, str) and encrypted.startswith("rs_"):
        item_id, colon, inner = encrypted.partition(":")
        if colon:
            said = [one for one in _list(item.get("summary")) if _object(one).get("text")]
            return {**item, "id": item_id, "summary": said, "encrypted_content": inner}
    return item


def _part(part: Json, where: str, host: str, *, spoken: bool, notes: Json = None) -> Json:
    """A content part under its name here."""
    if not isinstance(part, dict):
        raise not_carried(host, "content", where)
    rest = {name: value for name, value in part.items() if name != "type"}
    match part.get("type"):
        case "text":
            if not spoken:
                return {"type": "input_text", **rest}
            return {
                "type": "output_text",
                "annotations": [_flat(note, "url_citation") for note in _list(notes)],
                **rest,
            }
        case "refusal" | "input_audio":
            return part
        case "image_url":
            image = rest.pop("image_url", None)
            url = {"url": image} if isinstance(image, str) else dict(_object(image))
            return {"type": "input_image", "image_url": url.pop("url", None), "detail": "auto", **url, **rest}
        case "file":
            return {"type": "input_file", **_object(rest.pop("file", None)), **rest}
        case _:
            raise not_carried(host, str(part.get("type")), where)


def _output(content: Json, where: str, host: str) -> Json:
    """What a tool gave: a text, or content parts."""
    if not isinstance(content, list):
        return content
    return [
        part[NAME]
        if boxed(part) == NAME and isinstance(part, dict)
        else _part(part, f"{where}.content[{place}]", host, spoken=False)
        for place, part in enumerate(content)
    ]


def _call(call: Json, where: str, host: str) -> Json:
    if not isinstance(call, dict) or call.get("type", "function") not in ("function", "custom"):
        raise not_carried(host, "tool_calls", where)
    call = {name: value for name, value in call.items() if name not in ("index", "anthropic")}
    call_id, kind = call.pop("id", ""), call.pop("type", "function")
    if kind == "custom":
        return {"type": "custom_tool_call", "call_id": call_id, **_object(call.pop("custom", None)), **call}
    return {"type": "function_call", "call_id": call_id, **_object(call.pop("function", None)), **call}


def _tool(tool: Json) -> Json:
    """A tool without its inner object. What has none is a tool of the provider's, as it is."""
    if boxed(tool) == NAME and isinstance(tool, dict):
        return tool[NAME]
    if not isinstance(tool, dict):
        return tool
    if tool.get("type") == "function" and isinstance(tool.get("function"), dict):
        flat = _flat(tool, "function")
        strict = flat.pop("strict", False)
        return {"parameters": None, **flat, **({"strict": strict} if strict is not None else {})}
    flat = _flat(tool, "custom")
    if isinstance(form := flat.get("format"), dict):
        flat["format"] = _flat(form, "grammar")
    return flat


def _choice(choice: Json) -> Json:
    if not isinstance(choice, dict):
        return choice
    if boxed(choice) == NAME:
        return choice[NAME]
    flat = _flat(_flat(_flat(choice, "function"), "custom"), "allowed_tools")
    if isinstance(tools := flat.get("tools"), list):
        flat["tools"] = [_flat(_flat(tool, "function"), "custom") for tool in tools]
    return flat


def _text(params: Object) -> Object:
    """How the text is to look."""
    text = dict(_object(params.get("text")))
    if isinstance(wanted := params.get("response_format"), dict):
        text["format"] = _flat(wanted, "json_schema")
    if params.get("verbosity") is not None:
        text["verbosity"] = params["verbosity"]
    return text


def _flat(value: Json, name: str) -> Object:
    """An object of type `name` whose members are in an inner object of that name, without the inner one."""
    outer = _object(value)
    inner = outer.get(name)
    if outer.get("type") != name or not isinstance(inner, dict):
        return dict(outer)
    return {**{member: told for member, told in outer.items() if member != name}, **inner}


def _object(value: Json) -> Object:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
