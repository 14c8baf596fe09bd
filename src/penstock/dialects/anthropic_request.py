"""An Anthropic Messages request → `ChatRequest`, field by field; a source that speaks Anthropic reads the same table backwards.

| Anthropic                                   | ChatRequest                                                                      |
| ------------------------------------------- | -------------------------------------------------------------------------------- |
| `model`, `stream` (default false)           | `model`, `stream`                                                                |
| `system` text / blocks                      | first message, `role: system`, `content` text / text parts                       |
| message `system` / `user` / `assistant`     | a message of that role; `content` text, or parts; unknown members stay           |
| block `text`                                | the same part, with its `cache_control`, `citations` and unknown members         |
| block `image`, source base64 / url          | `image_url` part, `url` a data URL / the URL; members beside `source` stay       |
| block `document`, base64 PDF                | `file` part, `file_data` a data URL, `filename` = `title`; `cache_control` stays |
| block `tool_use`                            | `tool_calls[]`, `arguments` = `input` as JSON; `cache_control`, `caller` … stay  |
| … with other blocks after it                | and `tool_calls[].anthropic = {"after": n}`: n content parts stand before it     |
| block `tool_result`                         | message `role: tool`; `content` text or parts ("" if missing); `is_error`,       |
|                                             | `cache_control` … stay members of the message                                    |
| block `thinking` with a signature           | box among the parts                                                              |
| block `thinking` without                    | `reasoning_content`; several are joined by a blank line                          |
| `redacted_thinking`, any other block,       | box among the parts                                                              |
| other sources, documents with `citations`   |                                                                                  |
| tool without `type`, or `custom`            | `function` with `description`, `parameters` = `input_schema`, `strict`; other    |
|                                             | members (`cache_control`, `input_examples` …) stay members of the tool           |
| other tools (`web_search_…`)                | box among the tools                                                              |
| `tool_choice` auto / any / none / tool      | `tool_choice` `auto` / `required` / `none` / `{type: function, function: {name}}` |
| … `disable_parallel_tool_use`               | `parallel_tool_calls`, the contrary                                              |
| `max_tokens`, `temperature`, `top_p`,       | the same names                                                                   |
| `top_k`, `cache_control`                    |                                                                                  |
| `stop_sequences`                            | `stop`, always a list                                                            |
| `metadata.user_id`                          | `user`; other members in the box `params["anthropic"]["metadata"]`               |
| `output_config.effort`                      | `reasoning_effort`, the same words                                               |
| `output_config.format` (`json_schema`)      | `response_format`, the schema named `answer` and strict                          |
| … other members                             | box `params["anthropic"]["output_config"]`                                       |
| `thinking` disabled, without an effort      | `reasoning_effort` `none`                                                        |
| any other `thinking`, every other field     | box `params["anthropic"][field]`, verbatim                                       |

A field that is null counts as missing.
"""

from __future__ import annotations

from penstock.core.body import read_object
from penstock.core.carried import box
from penstock.core.events import Json
from penstock.core.request import ChatRequest
from penstock.dialects.anthropic_fields import (
    Object,
    an_array,
    an_object,
    kind,
    one_of,
    optional,
    quoted,
    text,
    without,
    wrong,
)
from penstock.dialects.anthropic_messages import NAME, read_messages, read_system

LONGEST_NAME = 128
"""Characters of the name of a tool."""
_NAMING = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_READ = frozenset(
    {
        "model", "stream", "system", "messages", "max_tokens", "temperature", "top_p", "top_k", "cache_control",
        "stop_sequences", "metadata", "output_config", "thinking", "tools", "tool_choice",
    }
)  # fmt: skip

_SPELLED = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
"""Fields of a `ChatRequest` that have another name here."""


def read_request(body: bytes) -> ChatRequest:
    """The request in `body`. Raises `Refused`."""
    fields: Object = {name: value for name, value in read_object(body).items() if value is not None}
    if "messages" not in fields:
        raise wrong("messages", "field required: an array of {role, content}")
    if "max_tokens" not in fields:
        raise wrong("max_tokens", "field required: how many tokens the answer may have")
    model = optional(fields, "model", str, "model")
    stream = optional(fields, "stream", bool, "stream")
    places = dict(_SPELLED)
    messages = [read_system(fields["system"], places)] if "system" in fields else []
    read_messages(fields["messages"], messages, places)
    params: dict[str, Json] = {}
    boxed: Object = {name: value for name, value in fields.items() if name not in _READ}
    _numbers(fields, params)
    if "cache_control" in fields:
        params["cache_control"] = an_object(fields["cache_control"], "cache_control")
    if "stop_sequences" in fields:
        params["stop"] = _stops(fields["stop_sequences"])
    if "metadata" in fields:
        _metadata(an_object(fields["metadata"], "metadata"), params, boxed)
    if "output_config" in fields:
        _output(an_object(fields["output_config"], "output_config"), params, boxed)
    if "thinking" in fields:
        _thinking(an_object(fields["thinking"], "thinking"), params, boxed)
    names: set[str] = set()
    if "tools" in fields:
        tools: list[Json] = []
        for index, tool in enumerate(an_array(fields["tools"], "tools")):
            places[f"tools[{index}]"] = where = f"tools.{index}"
            tools.append(_tool(tool, names, where))
        params["tools"] = tools
    if "tool_choice" in fields:
        _choice(an_object(fields["tool_choice"], "tool_choice"), names, params)
    if boxed:
        params[NAME] = boxed
    return ChatRequest(
        model=model or "",
        messages=tuple(messages),
        params=params,
        stream=bool(stream),
        dialect=NAME,
        places=places,
    )


def _numbers(fields: Object, params: dict[str, Json]) -> None:
    for name, wanted, highest in (
        ("max_tokens", int, None),
        ("temperature", float, 1),
        ("top_p", float, 1),
        ("top_k", int, None),
    ):
        value = optional(fields, name, wanted, name)
        if value is None:
            continue
        if value < 0:
            raise wrong(name, "must not be less than 0")
        if highest is not None and value > highest:
            raise wrong(name, f"must not be more than {highest}")
        params[name] = fields[name]


def _stops(value: Json) -> list[Json]:
    stops = an_array(value, "stop_sequences")
    for index, stop in enumerate(stops):
        where = f"stop_sequences.{index}"
        if not isinstance(stop, str):
            raise wrong(where, f"must be a string, not {kind(stop)}")
        if not stop.strip():
            raise wrong(where, "must hold something other than white space")
    return stops


def _metadata(metadata: Object, params: dict[str, Json], boxed: Object) -> None:
    user = optional(metadata, "user_id", str, "metadata.user_id")
    if user is not None:
        params["user"] = user
    if rest := without(metadata, "user_id"):
        boxed["metadata"] = rest


def _output(config: Object, params: dict[str, Json], boxed: Object) -> None:
    effort = optional(config, "effort", str, "output_config.effort")
    if effort is not None:
        params["reasoning_effort"] = effort
    rest = without(config, "effort")
    form = rest.get("format")
    if form is not None:
        where = "output_config.format"
        asked = an_object(form, where)
        if text(asked, "type", where) == "json_schema":
            schema = an_object(asked.get("schema"), f"{where}.schema")
            if not without(asked, "type", "schema"):
                named: Object = {"name": "answer", "schema": schema, "strict": True}
                params["response_format"] = {"type": "json_schema", "json_schema": named}
                del rest["format"]
    if rest:
        boxed["output_config"] = rest


def _thinking(thinking: Object, params: dict[str, Json], boxed: Object) -> None:
    form = text(thinking, "type", "thinking")
    if thinking == {"type": "disabled"} and "reasoning_effort" not in params:
        params["reasoning_effort"] = "none"
        return
    boxed["thinking"] = thinking
    if form != "enabled":
        return
    where = "thinking.budget_tokens"
    budget = optional(thinking, "budget_tokens", int, where)
    if budget is None:
        raise wrong(where, "field required")
    if budget < 1024:
        raise wrong(where, "must not be less than 1024")
    most = params["max_tokens"]
    if isinstance(most, int) and budget >= most:
        raise wrong(where, f"must be less than max_tokens, which is {most}")


def _tool(value: Json, names: set[str], where: str) -> Json:
    tool = an_object(value, where)
    form = optional(tool, "type", str, f"{where}.type")
    if form not in (None, "custom"):
        name = tool.get("name")
        if isinstance(name, str):
            _distinct(name, names, where)
        return box(NAME, tool)
    name = text(tool, "name", where)
    if not 1 <= len(name) <= LONGEST_NAME or not _NAMING.issuperset(name):
        raise wrong(f"{where}.name", f"must be 1 to {LONGEST_NAME} letters, digits, '_' or '-'")
    _distinct(name, names, where)
    if "input_schema" not in tool:
        raise wrong(f"{where}.input_schema", "field required")
    function: Object = {"name": name}
    description = optional(tool, "description", str, f"{where}.description")
    if description is not None:
        function["description"] = description
    schema = an_object(tool["input_schema"], f"{where}.input_schema")
    if schema.get("type", "object") != "object":
        raise wrong(f"{where}.input_schema.type", "must be 'object'")
    function["parameters"] = schema
    strict = optional(tool, "strict", bool, f"{where}.strict")
    if strict is not None:
        function["strict"] = strict
    rest = without(tool, "type", "name", "description", "input_schema", "strict")
    return {"type": "function", "function": function, **rest}


def _distinct(name: str, names: set[str], where: str) -> None:
    if name in names:
        raise wrong(f"{where}.name", f"two tools are called {quoted(name)}")
    names.add(name)


def _choice(choice: Object, names: set[str], params: dict[str, Json]) -> None:
    word = one_of(choice.get("type"), ("auto", "any", "tool", "none"), "tool_choice.type")
    known = ["type", "disable_parallel_tool_use"]
    if word in ("any", "tool") and not params.get("tools"):
        raise wrong("tool_choice", "may only ask for a tool while `tools` are given")
    match word:
        case "any":
            params["tool_choice"] = "required"
        case "tool":
            name = text(choice, "name", "tool_choice")
            if name not in names:
                raise wrong("tool_choice.name", f"no tool is called {quoted(name)}")
            params["tool_choice"] = {"type": "function", "function": {"name": name}}
            known.append("name")
        case same:
            params["tool_choice"] = same
    alone = optional(choice, "disable_parallel_tool_use", bool, "tool_choice.disable_parallel_tool_use")
    if alone is not None:
        params["parallel_tool_calls"] = not alone
    for name in without(choice, *known):
        raise wrong("tool_choice", f"has no field {quoted(name)}")
