"""A canonical request → the body of Anthropic's `POST /v1/messages` (platform.claude.com/docs/en/api/messages).

| request | body |
| --- | --- |
| `system`, `developer` messages before all others | `system`: a text if there is one that is a text, else blocks |
| those between others | messages of the role `system`, in their place; models before Claude Opus 4.8 refuse them |
| `tool` messages | `tool_result` blocks of a user message; `is_error` and other members are kept |
| neighbours of one role | one message |
| `tool_calls` | `tool_use` blocks behind the content, or where `anthropic.after` says, `input` being the parsed `arguments` |
| `reasoning_content` | nothing: thinking without its signature is not taken back |
| `thinking` with a budget, when a tool's result follows calls without their thought | left out, unless the client speaks Anthropic |
| parts `text`, `image_url`, `file`, `refusal` | blocks `text`, `image`, `document` (`filename` → `title`), `text` |
| `max_tokens`, `max_completion_tokens` | `max_tokens`; `DEFAULT_MAX_TOKENS` where there is none, since Anthropic wants one |
| `stop` | `stop_sequences` |
| `tools[].function` | `name`, `description`, `input_schema` ← `parameters`; other members of tool and function are kept |
| `tool_choice` `auto`, `none`, `required`, a function | `auto`, `none`, `any`, `tool` |
| `parallel_tool_calls: false` | `tool_choice.disable_parallel_tool_use` |
| `reasoning_effort` | `output_config.effort` (`minimal` → `low`); `none` → `thinking: disabled` |
| `response_format` `json_schema` | `output_config.format`; `description` becomes the schema's where that has none |
| `user` or `safety_identifier`, `metadata.user_id` | `metadata.user_id` |
| `service_tier` `default`, `priority` | `standard_only`, `auto` |
| boxes of `anthropic` | what is in them: blocks, tools, fields; a field that is an object adds its members |
| anything unknown (`top_k`, `thinking`, `cache_control` …) | as it is, wherever it stands |
"""

from __future__ import annotations

import msgspec

from penstock.core.carried import boxed
from penstock.core.events import Json
from penstock.core.request import ChatRequest
from penstock.sources.anthropic_blocks import conversation
from penstock.sources.foreign import readable
from penstock.sources.provider import Question
from penstock.sources.translation import Object, Translation, object_of, parts_of, rest_of

SPEAKS = "anthropic"
DEFAULT_MAX_TOKENS = 32_000
"""What every model since Claude 4 can say in one answer."""

UNNAMED = "answer"
"""What a schema is called in our requests that had no name where it came from."""

_NO_PARAMETERS: Object = {"type": "object", "properties": {}}
_CHOICES: dict[str, str] = {"auto": "auto", "none": "none", "required": "any"}
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_EFFORTS = {"minimal": "low"}
_TIERS = {"default": "standard_only", "priority": "auto"}


def question(model: str, request: ChatRequest, *, host: str) -> Question:
    """The body of one streamed question. Raises `Broken(not_carried)` naming what the Messages API has no words for."""
    request, left_out = readable(request, SPEAKS, host)
    said = Translation(host, left_out)
    system, messages = conversation(request.messages, said)
    body: Object = {"model": model, "max_tokens": DEFAULT_MAX_TOKENS, "messages": messages}
    if system:
        body["system"] = system
    for name, value in request.params.items():
        _field(name, value, body, said)
    identifier = request.params.get("safety_identifier")
    if identifier is not None and request.params.get("user") not in (None, identifier):
        _put(body, "metadata", {"user_id": identifier})
        said.leave("user")
    _choice(request.params, body, said)
    for name, value in object_of(request.params.get(SPEAKS)).items():
        _put(body, name, value)
    if request.dialect != SPEAKS and _thoughtless(object_of(body.get("thinking")), messages):
        del body["thinking"]
        said.leave("thinking")
    body["stream"] = True
    return Question(msgspec.json.encode(body), tuple(said.left_out))


def _thoughtless(thinking: Object, messages: list[Json]) -> bool:
    """Whether Anthropic would refuse to think with a budget, because the thought is missing that led to the last calls: not
    every client can hand signed thoughts back."""
    if thinking.get("type") != "enabled" or len(messages) < 2:
        return False
    before, last = (parts_of(object_of(message).get("content")) for message in messages[-2:])
    began = object_of(before[0]).get("type") if before else None
    return object_of(last[0] if last else None).get("type") == "tool_result" and began not in _THOUGHTS


def _field(name: str, value: Json, body: Object, said: Translation) -> None:
    """Say one field of the request in the body."""
    match name:
        case "tool_choice" | "parallel_tool_calls" | "anthropic":
            pass  # they need the whole body
        case "max_tokens" | "max_completion_tokens":
            if value is not None:
                body["max_tokens"] = value
        case "stop":
            if value:
                body["stop_sequences"] = [value] if isinstance(value, str) else value
        case "tools":
            if value is not None:
                body["tools"] = (
                    [_tool(tool, f"tools[{at}]", said) for at, tool in enumerate(value)]
                    if isinstance(value, list)
                    else value
                )
        case "reasoning_effort":
            if value == "none":
                body.setdefault("thinking", {"type": "disabled"})
            elif value is not None:
                effort = _EFFORTS.get(value, value) if isinstance(value, str) else value
                _put(body, "output_config", {"effort": effort})
        case "response_format":
            _format(value, body, said)
        case "user" | "safety_identifier":
            if value is not None:
                _put(body, "metadata", {"user_id": value})
        case "metadata":
            _metadata(value, body, said)
        case "service_tier":
            if value == "flex":
                raise said.refusal("service_tier", "service_tier")
            if value is not None:
                body["service_tier"] = _TIERS.get(value, value) if isinstance(value, str) else value
        case _ if said.settle(name, value):
            pass
        case _:
            _put(body, name, value)


def _put(body: Object, name: str, value: Json) -> None:
    """A field as it is; an object adds its members to what is there."""
    there = body.get(name)
    body[name] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value


def _metadata(value: Json, body: Object, said: Translation) -> None:
    """Of OpenAI's free labels, Anthropic knows one."""
    stated = object_of(value)
    if "user_id" in stated and "metadata" not in body:
        _put(body, "metadata", {"user_id": stated["user_id"]})
    if rest_of(stated, "user_id"):
        said.leave("metadata")


def _format(value: Json, body: Object, said: Translation) -> None:
    stated = object_of(value)
    match stated.get("type"):
        case None | "text":
            return
        case "json_schema":
            described = object_of(stated.get("json_schema"))
            schema = object_of(described.get("schema"))
            if description := described.get("description"):
                schema = {"description": description, **schema}
                if schema["description"] != description:
                    said.leave("response_format.json_schema.description")
            if described.get("name") not in (None, UNNAMED):
                said.leave("response_format.json_schema.name")
            _put(body, "output_config", {"format": {"type": "json_schema", "schema": schema}})
        case _:
            raise said.refusal("response_format", "response_format")


def _tool(tool: Json, where: str, said: Translation) -> Json:
    if boxed(tool) is not None:
        return object_of(tool)[SPEAKS]
    if not isinstance(tool, dict):
        return tool
    function = tool.get("function")
    if not isinstance(function, dict):
        if "custom" in tool:
            raise said.refusal("a tool of the type custom", where)
        return tool
    return {
        **rest_of(function, "parameters"),
        "input_schema": function.get("parameters") or _NO_PARAMETERS,
        **rest_of(tool, "type", "function"),
    }


def _choice(params: Object, body: Object, said: Translation) -> None:
    """How tools may be used; of no account where there are none."""
    stated = params.get("tool_choice")
    choice: Object | None = None
    if isinstance(stated, str):
        if stated not in _CHOICES:
            raise said.refusal(stated, "tool_choice")
        choice = {"type": _CHOICES[stated]}
    elif isinstance(stated, dict):
        if stated.get("type") == "function":
            choice = {"type": "tool", "name": object_of(stated.get("function")).get("name")}
        elif stated.get("type") in ("custom", "allowed_tools"):
            raise said.refusal(str(stated["type"]), "tool_choice")
        else:
            choice = dict(stated)
    if params.get("parallel_tool_calls") is False and body.get("tools"):
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None:
        body["tool_choice"] = choice
