"""A Responses request as a `ChatRequest`. Shapes follow openai-python (`types/responses/response_create_params.py`).

| Responses | `ChatRequest` |
| --- | --- |
| `model`, `stream`, `background` | the same |
| `previous_response_id` | `previous` |
| `store` (true where it is missing) | `keep` |
| `instructions` | the first message, role `system`; `instructions` is then 1 |
| `input`, a text | a `user` message |
| message | a message; one text part alone becomes a text. Parts: `input_text`, `output_text` → `text`, `input_image` → `image_url`, |
| | `input_file` → `file`, `input_audio` and `refusal` the same |
| `function_call` | `tool_calls` of the assistant message it belongs to |
| `function_call_output` | a `tool` message; its output is read as content is |
| `reasoning` that is plain text | `reasoning_content` of the assistant message: its text, or else its summary |
| any other item, and one that says more | a box among the content of an assistant message (user for `…_output`, `…_response`) |
| a part that says more (`file_id`, `file_url`) | the part in a box. A box whose `type` is in `PARTS` is a part, any other an item |
| function tool | `{type, function: {name, description, parameters, strict}}`; `strict` null where it is not said: not false, as in chat |
| any other tool, and one that says more | a box among `tools` |
| `tool_choice` | `none`, `auto`, `required`, `function` and `allowed_tools` in chat's shape; else `params[NAME].tool_choice` |
| `text.format` | `response_format` in chat's shape; a format chat lacks `params[NAME].text.format` |
| `text.verbosity` | `verbosity` |
| `reasoning.effort` | `reasoning_effort`; the rest of `reasoning` `params[NAME].reasoning` |
| `max_output_tokens` | `max_completion_tokens` |
| `top_logprobs` | `top_logprobs`, and `logprobs`: true; the latter also for `include: [message.output_text.logprobs]` |
| `temperature`, `top_p`, and what is in `_SAME` | the same, in `params` |
| the rest of `include`, `metadata`, `truncation: auto` | `params[NAME]` |
| `stream_options.include_obfuscation` | read and left: it is about padding, and there is none |
| `conversation`, `prompt` | refused |
| any other field | `params[NAME]`, verbatim |

NAME is `openai-responses`. An assistant's reasoning, text and calls that follow one another are one message; a box after a call begins
another, so that a provider which speaks Responses can be given everything in its order: boxes and text as they stand, then the calls.
Ids and statuses of items are penstock's own, and are not asked again. `annotations` and `logprobs` of an `output_text` stay members
of the part: a provider that speaks Responses is given them again, any other goes without, and the client is told. A reasoning
item with `encrypted_content` is in a box as it came. `include`, `metadata` and `reasoning` in the box are
hints (`penstock.core.carried.HINTS`): a provider of another protocol goes without, and the client is told.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from penstock.core.body import read_object, take
from penstock.core.carried import box
from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.dialects.openai_fields import whole_number, wrong
from penstock.dialects.openai_responses_input import NAME, Object, read_input, text, told

_FORMAT = frozenset({"type", "name", "schema", "strict", "description"})
_TOOL = ("name", "description", "parameters", "strict")
_SAME: dict[str, type[str | bool | Object]] = {
    "user": str,
    "safety_identifier": str,
    "prompt_cache_key": str,
    "prompt_cache_options": dict,
    "prompt_cache_retention": str,
    "service_tier": str,
    "parallel_tool_calls": bool,
}
"""Fields that chat has under the same name."""
_ELSEWHERE = {
    "conversation": "conversations are not stored here under an id; send 'previous_response_id', or the whole 'input'",
    "prompt": "prompt templates are not stored here; send 'instructions' and 'input'",
}

_SPELLED = {
    "previous": "previous_response_id",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "top_logprobs",
}
"""What has another name in a `ChatRequest`."""


def read_request(body: bytes) -> ChatRequest:
    """Read a body, and leave nothing of it unread. Raises `Refused`, naming the field as OpenAI spells it."""
    fields = read_object(body)
    for name, what_to_do in _ELSEWHERE.items():
        if fields.get(name) is not None:
            raise Refused("invalid_request", what_to_do, param=name)
    echo: Object = {}
    own: Object = {}
    params: Object = {}
    model = take(fields, "model", str, "") or ""
    previous = take(fields, "previous_response_id", str, "") or ""
    keep = take(fields, "store", bool, True)
    stream = take(fields, "stream", bool, False)
    background = take(fields, "background", bool, False)
    if background and not keep:
        raise Refused("invalid_request", "'background' needs 'store': the answer is fetched later", param="background")
    instructions = take(fields, "instructions", str, None)
    if fields.get("input") is None:
        hint = "'messages' belong to /v1/chat/completions; " if "messages" in fields else ""
        raise Refused("invalid_request", f"{hint}'input' is required: a text or a list of items", param="input")
    places = dict(_SPELLED)
    messages: list[Message] = []
    if instructions is not None:
        places["messages[0]"] = "instructions"
        messages.append({"role": "system", "content": instructions})
    read_input(fields.pop("input"), messages, places, goes_on=bool(previous))
    echo |= {"background": background, "instructions": instructions, "store": keep}
    echo["previous_response_id"] = previous or None
    _tools(fields, params, own, echo)
    _numbers(fields, params, echo)
    _text(fields, params, own, echo)
    _reasoning(fields, params, own, echo)
    _logprobs(fields, params, own, echo)
    for name, kind in _SAME.items():
        if (same := take(fields, name, kind, None)) is not None:
            params[name] = echo[name] = same
    _beside(fields, own, echo)
    for name, value in fields.items():
        if value is not None:
            own[name] = value
    if own:
        params[NAME] = own
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        params=params,
        stream=stream,
        include_usage=True,
        background=background,
        previous=previous,
        instructions=int(instructions is not None),
        keep=keep,
        echo=_echoed({**DEFAULTS, **echo}),
        places=places,
        dialect=NAME,
    )


ECHO_LONGEST = 256 * 1024
"""Bytes of a request that its answer repeats: it does so in three of its events, to every reader."""


def _echoed(echo: Object) -> bytes:
    """What the answer repeats; of what is too long the longest fields first are told as if nobody had said them."""
    said = msgspec.json.encode(echo)
    if len(said) <= ECHO_LONGEST:
        return said
    sizes = {name: len(msgspec.json.encode(value)) for name, value in echo.items()}
    length = len(said)
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if length <= ECHO_LONGEST:
            break
        echo[name] = DEFAULTS.get(name)
        length -= sizes[name]
    return msgspec.json.encode(echo)


DEFAULTS: Object = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response says of a request that did not say it."""


def _tools(fields: Object, params: Object, own: Object, echo: Object) -> None:
    given = take(fields, "tools", list, None)
    names: set[str] = set()
    tools: list[Json] = []
    for index, tool in enumerate(given or []):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise wrong(where, "an object", tool)
        kind = text(tool, "type", where)
        if kind == "function":
            name = text(tool, "name", where)
            if name in names:
                raise Refused("invalid_request", f"two tools are called {name!r}", param=f"{where}.name")
            names.add(name)
            _check_function(tool, where)
        if kind != "function" or told(tool, {"type", *_TOOL}):
            tools.append(box(NAME, tool))
        else:
            function: Object = {n: tool[n] for n in _TOOL if tool.get(n) is not None}
            # Here a tool that does not say is strict where its schema can be; in chat it is not.
            tools.append({"type": "function", "function": {"strict": None, **function}})
    if given:
        params["tools"] = tools
        echo["tools"] = given
    choice = fields.pop("tool_choice", None)
    if choice is None:
        return
    echo["tool_choice"] = choice
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise wrong("tool_choice", "none, auto, required or an object", choice)
        if choice == "required" and not given:
            raise Refused("invalid_request", "'tool_choice' is required, but there are no 'tools'", param="tool_choice")
        if given or choice != "auto":
            params["tool_choice"] = choice
        return
    if not isinstance(choice, dict):
        raise wrong("tool_choice", "none, auto, required or an object", choice)
    match text(choice, "type", "tool_choice"):
        case "function":
            params["tool_choice"] = _named(choice, names, "tool_choice")
        case "allowed_tools":
            _allowed(choice, names, params, own)
        case _:
            if not given:
                raise Refused(
                    "invalid_request", "'tool_choice' names a tool, but there are no 'tools'", param="tool_choice"
                )
            own["tool_choice"] = choice


def _check_function(tool: Object, where: str) -> None:
    kinds: tuple[tuple[str, type, str], ...] = (
        ("description", str, "a text"),
        ("parameters", dict, "a JSON schema"),
        ("strict", bool, "a boolean"),
    )
    for name, kind, wanted in kinds:
        if (value := tool.get(name)) is not None and not isinstance(value, kind):
            raise wrong(f"{where}.{name}", wanted, value)


def _named(choice: Object, names: Collection[str], where: str) -> Object:
    name = text(choice, "name", where)
    if name not in names:
        raise Refused("invalid_request", f"'{where}' names {name!r}, which is not among 'tools'", param=where)
    return {"type": "function", "function": {"name": name}}


def _allowed(choice: Object, names: Collection[str], params: Object, own: Object) -> None:
    mode, tools = choice.get("mode"), choice.get("tools")
    if mode not in ("auto", "required"):
        raise wrong("tool_choice.mode", "auto or required", mode)
    if not isinstance(tools, list) or not tools:
        raise wrong("tool_choice.tools", "a list with at least one tool", tools)
    allowed: list[Json] = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise wrong(f"tool_choice.tools[{index}]", "an object", tool)
        if tool.get("type") != "function":
            own["tool_choice"] = choice
            return
        allowed.append(_named(tool, names, f"tool_choice.tools[{index}]"))
    params["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}


def _numbers(fields: Object, params: Object, echo: Object) -> None:
    """Temperature, top_p and the longest answer, within OpenAI's bounds."""
    for name, most in (("temperature", 2), ("top_p", 1)):
        if (value := fields.pop(name, None)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise wrong(name, f"a number from 0 to {most}", value)
        params[name] = echo[name] = value
    longest = whole_number(fields, "max_output_tokens", least=1)
    if longest is not None:
        params["max_completion_tokens"] = echo["max_output_tokens"] = longest


def _text(fields: Object, params: Object, own: Object, echo: Object) -> None:
    given = take(fields, "text", dict, None)
    if not given:
        return
    echo["text"] = {"format": {"type": "text"}, **given}
    rest = dict(given)
    verbosity = rest.pop("verbosity", None)
    if verbosity is not None:
        params["verbosity"] = text(given, "verbosity", "text")
    wanted = rest.pop("format", None)
    if wanted is None:
        echo["text"] = {**given, "format": {"type": "text"}}
    elif not isinstance(wanted, dict):
        raise wrong("text.format", 'an object such as {"type": "text"}', wanted)
    else:
        kind = text(wanted, "type", "text.format")
        if kind in ("text", "json_object") and not told(wanted, {"type"}):
            params["response_format"] = {"type": kind}
        elif kind == "json_schema" and not told(wanted, _FORMAT):
            params["response_format"] = {"type": kind, "json_schema": _schema(wanted)}
        else:
            rest["format"] = wanted
    if rest := {name: value for name, value in rest.items() if value is not None}:
        own["text"] = rest


def _schema(wanted: Object) -> Object:
    text(wanted, "name", "text.format")
    if not isinstance(wanted.get("schema"), dict):
        raise wrong("text.format.schema", "a JSON schema", wanted.get("schema"))
    strict = wanted.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise wrong("text.format.strict", "a boolean", strict)
    return {name: value for name, value in wanted.items() if name != "type" and value is not None}


def _reasoning(fields: Object, params: Object, own: Object, echo: Object) -> None:
    given = take(fields, "reasoning", dict, None)
    if given is None:
        return
    echo["reasoning"] = {"effort": None, "summary": None, **given}
    if given.get("effort") is not None:
        params["reasoning_effort"] = text(given, "effort", "reasoning")
    if rest := {name: value for name, value in given.items() if name != "effort" and value is not None}:
        own["reasoning"] = rest


def _logprobs(fields: Object, params: Object, own: Object, echo: Object) -> None:
    include = take(fields, "include", list, None) or []
    for index, what in enumerate(include):
        if not isinstance(what, str):
            raise wrong(f"include[{index}]", "a text", what)
    if "message.output_text.logprobs" in include:
        params["logprobs"] = True
    if rest := [what for what in include if what != "message.output_text.logprobs"]:
        own["include"] = rest
    most = whole_number(fields, "top_logprobs", least=0, most=20)
    if most:
        params["top_logprobs"] = echo["top_logprobs"] = most
        params["logprobs"] = True


def _beside(fields: Object, own: Object, echo: Object) -> None:
    """What is about the answer's keeping and its stream rather than about the answer."""
    metadata = take(fields, "metadata", dict, None)
    if metadata is not None:
        for name, value in metadata.items():
            if not isinstance(value, str):
                raise wrong(f"metadata.{name[:64]}", "a text", value)
        if len(metadata) > 16:
            raise Refused("invalid_request", "'metadata' has at most 16 members", param="metadata")
        echo["metadata"] = metadata
        if metadata:
            own["metadata"] = metadata
    truncation = fields.pop("truncation", None)
    if truncation is not None:
        if truncation not in ("auto", "disabled"):
            raise wrong("truncation", "auto or disabled", truncation)
        echo["truncation"] = truncation
        if truncation == "auto":
            own["truncation"] = truncation
    calls = whole_number(fields, "max_tool_calls", least=1)
    if calls is not None:
        own["max_tool_calls"] = echo["max_tool_calls"] = calls
    options = take(fields, "stream_options", dict, None) or {}
    if told(options, {"include_obfuscation"}):
        own["stream_options"] = options
