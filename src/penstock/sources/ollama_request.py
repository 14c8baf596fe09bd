"""A canonical request → the body of Ollama's `POST /api/chat` (docs.ollama.com/api/chat).

| request | body |
| --- | --- |
| text parts of a message | one `content`, joined by line breaks |
| `image_url` parts that hold their data | `images` of the message, base64; Ollama fetches no URL |
| `developer` messages | messages of the role `system` |
| `tool_calls` | the same, `arguments` parsed |
| `tool` messages | with `tool_name`, looked up by `tool_call_id` |
| `reasoning_content` | `thinking` |
| `max_tokens`, `max_completion_tokens` | `options.num_predict` |
| `temperature`, `seed`, `stop` and all other `OPTIONS` | the same of `options`; what came as `options` wins |
| `response_format` | `format`: `"json"`, or the schema |
| `reasoning_effort` | `think`: `false` for `none`, else `low`, `medium` or `high` |
| `tool_choice: none` | no tools |
| anything unknown (`keep_alive`, `think`, `options` …) | as it is |
"""

from __future__ import annotations

import msgspec

from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.sources.foreign import readable
from penstock.sources.provider import Question
from penstock.sources.translation import Object, Translation, data_of, object_of, parts_of, rest_of

SPEAKS = "ollama"
OPTIONS = frozenset(
    {
        "frequency_penalty", "min_p", "mirostat", "mirostat_eta", "mirostat_tau", "num_ctx", "num_keep", "num_predict",
        "presence_penalty", "repeat_last_n", "repeat_penalty", "seed", "stop", "temperature", "top_k", "top_p", "typical_p",
    }
)  # fmt: skip
"""Fields of a request that Ollama has among its `options`."""

_EFFORTS: dict[Json, Json] = {"none": False, "minimal": "low", "xhigh": "high", "max": "high"}
_BESIDE_CONTENT = (
    "role", "content", "name", "tool_calls", "refusal", "audio", "function_call", "annotations", "reasoning_content", "reasoning",
)  # fmt: skip


def question(model: str, request: ChatRequest, *, host: str) -> Question:
    """The body of one streamed question. Raises `Broken(not_carried)` naming what Ollama has no words for."""
    request, left_out = readable(request, SPEAKS, host)
    said = Translation(host, left_out)
    names = _called(request.messages)
    messages: list[Json] = [
        _message(message, f"messages[{at}]", names, said) for at, message in enumerate(request.messages)
    ]
    body: Object = {"model": model, "messages": messages}
    options: Object = {}
    for name, value in request.params.items():
        _field(name, value, body, options, said)
    options.update(object_of(request.params.get("options")))
    if options:
        body["options"] = options
    _choice(request.params, body, said)
    body["stream"] = True
    return Question(msgspec.json.encode(body), tuple(said.left_out))


def _field(name: str, value: Json, body: Object, options: Object, said: Translation) -> None:
    """Say one field of the request in the body, or among its options."""
    match name:
        case "tool_choice" | "parallel_tool_calls" | "options":
            pass  # they need the whole body
        case "max_tokens" | "max_completion_tokens":
            if value is not None:
                options["num_predict"] = value
        case "reasoning_effort":
            if value is not None:
                body.setdefault("think", _EFFORTS.get(value, value) if isinstance(value, str) else value)
        case "response_format":
            _format(value, body, said)
        case "tools":
            for at, tool in enumerate(value if isinstance(value, list) else ()):
                if object_of(tool).get("type", "function") != "function":
                    raise said.refusal(f"a tool of the type {object_of(tool)['type']}", f"tools[{at}]")
            body["tools"] = value
        case "service_tier":
            said.leave(name)
        case "logprobs" | "top_logprobs":
            body[name] = value
        case _ if name in OPTIONS:
            if value is not None:
                options[name] = [value] if name == "stop" and isinstance(value, str) else value
        case _ if said.settle(name, value):
            pass
        case _:
            body[name] = value


def _format(value: Json, body: Object, said: Translation) -> None:
    stated = object_of(value)
    match stated.get("type"):
        case None | "text":
            return
        case "json_object":
            body["format"] = "json"
        case "json_schema":
            described = object_of(stated.get("json_schema"))
            body["format"] = described.get("schema") or "json"
            for member in rest_of(described, "schema", "strict"):
                said.leave(f"response_format.json_schema.{member}")
        case _:
            raise said.refusal("response_format", "response_format")


def _choice(params: Object, body: Object, said: Translation) -> None:
    """Ollama lets a model choose, or has no tools."""
    choice = params.get("tool_choice")
    if choice == "none":
        body.pop("tools", None)
    elif choice not in (None, "auto"):
        raise said.refusal("tool_choice", "tool_choice")
    if params.get("parallel_tool_calls") is False and body.get("tools"):
        raise said.refusal("parallel_tool_calls", "parallel_tool_calls")


def _called(messages: tuple[Message, ...]) -> dict[Json, Json]:
    """The names of the tools that were called, by the ids of the calls."""
    calls = (call for message in messages for call in _listed(message.get("tool_calls")))
    return {str(call.get("id")): object_of(call.get("function")).get("name") for call in map(object_of, calls)}


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _message(message: Message, where: str, names: dict[Json, Json], said: Translation) -> Json:
    role = message.get("role")
    if role == "function":
        raise said.refusal("a message of the role function", f"{where}.role")
    if role != "tool":
        said.forbid(message, where, "name", "audio", "function_call")
    if message.get("annotations"):
        said.leave("messages.annotations")
    texts: list[str] = []
    images: list[Json] = []
    for at, part in enumerate(parts_of(message.get("content"))):
        _part(part, f"{where}.content[{at}]", texts, images, said)
    if isinstance(refusal := message.get("refusal"), str):
        texts.append(refusal)
    turn: Object = {"role": "system" if role == "developer" else role, "content": "\n".join(texts)}
    if images:
        turn["images"] = images
    if thought := message.get("reasoning_content") or message.get("reasoning"):
        turn["thinking"] = thought
    if calls := _listed(message.get("tool_calls")):
        turn["tool_calls"] = [
            _call(object_of(call), f"{where}.tool_calls[{at}]", said) for at, call in enumerate(calls)
        ]
    if role == "tool" and (name := names.get(str(message.get("tool_call_id"))) or message.get("name")):
        turn["tool_name"] = name
    return {**turn, **rest_of(message, *_BESIDE_CONTENT)}


def _part(part: Json, where: str, texts: list[str], images: list[Json], said: Translation) -> None:
    stated = object_of(part)
    kind = stated.get("type")
    match kind:
        case "text" | "refusal":
            texts.append(str(stated.get(kind, "")))
        case "image_url":
            image = stated.get("image_url")
            found = data_of(str(image if isinstance(image, str) else object_of(image).get("url", "")))
            if found is None:
                raise said.refusal("an image that is not base64 in a data: URL", where)
            if object_of(image).get("detail") not in (None, "auto"):
                said.leave("image_url.detail")
            images.append(found[1])
        case _:
            raise said.refusal(str(kind), where)
    for member in rest_of(stated, "type", str(kind)):
        said.leave(f"messages.content.{member}")


def _call(call: Object, where: str, said: Translation) -> Json:
    if call.get("type", "function") != "function":
        raise said.refusal(f"a call of the type {call['type']}", where)
    function: Object = {"name": object_of(call.get("function")).get("name"), "arguments": said.arguments(call, where)}
    return {**({"id": call["id"]} if call.get("id") else {}), "function": function}
