"""Fields that OpenAI has types for, in a body that a dialect has read: types, ranges, and what contradicts what.

Shapes and limits follow openai-python (`types/chat/completion_create_params.py`) and OpenAI's reference. What they have no word for is
let through, since servers that speak this protocol know more than OpenAI does; null is as good as missing. Everything here raises
`Refused(invalid_request)` with the field in OpenAI's spelling, as in `messages[0].content[1].image_url.url`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeGuard

from penstock.core.errors import Refused
from penstock.core.events import Json

MOST_STOPS = 4
MOST_TOP_LOGPROBS = 20

Fields = Mapping[str, Json]

Check = Callable[[str, Json, Fields], None]
"""Of one field: its name, its value, which is not null, and all of them."""


def check_sampling(fields: Fields) -> None:
    """What says how to choose tokens, and how many."""
    _check(fields, _SAMPLING)


def check_chat(fields: Fields) -> None:
    """Every field of a chat request beside its messages."""
    _check(fields, _CHAT)


def _check(fields: Fields, known: Mapping[str, Check]) -> None:
    for name, value in fields.items():
        if value is not None and (check := known.get(name)) is not None:
            check(name, value, fields)


def _range(least: float, most: float) -> Check:
    def check(name: str, value: Json, fields: Fields) -> None:
        if not (_is_number(value) and least <= value <= most):
            _refuse(name, f"must be a number from {least:g} to {most:g}")

    return check


def _kind(kind: type, words: str) -> Check:
    def check(name: str, value: Json, fields: Fields) -> None:
        if not isinstance(value, kind):
            _refuse(name, f"must be {words}")

    return check


def _check_most(name: str, value: Json, fields: Fields) -> None:
    if not (_is_whole(value) and (value > 0 or value == -1)):
        _refuse(name, "must be a whole number above 0")


def _check_seed(name: str, value: Json, fields: Fields) -> None:
    if not _is_whole(value):
        _refuse(name, "must be a whole number")


def _check_stop(name: str, value: Json, fields: Fields) -> None:
    texts = value if isinstance(value, list) else [value]
    if len(texts) > MOST_STOPS or not all(isinstance(each, str) for each in texts):
        _refuse(name, f"must be a text, or a list of at most {MOST_STOPS} texts")


def _check_bias(name: str, value: Json, fields: Fields) -> None:
    if not all(_is_number(each) and -100 <= each <= 100 for each in _object(value, name).values()):
        _refuse(name, "must hold numbers from -100 to 100, by token")


def _check_top_logprobs(name: str, value: Json, fields: Fields) -> None:
    if not (_is_whole(value) and 0 <= value <= MOST_TOP_LOGPROBS):
        _refuse(name, f"must be a whole number from 0 to {MOST_TOP_LOGPROBS}")
    if fields.get("logprobs") is not True:
        _refuse(name, "goes with 'logprobs': true")


def _check_format(name: str, value: Json, fields: Fields) -> None:
    form = _object(value, name)
    if _text(form.get("type"), "response_format.type") == "json_schema":
        schema = _object(form.get("json_schema"), "response_format.json_schema")
        if schema.get("name") is not None:
            _text(schema["name"], "response_format.json_schema.name")
        if schema.get("schema") is not None:
            _object(schema["schema"], "response_format.json_schema.schema")


def _check_tools(name: str, value: Json, fields: Fields) -> None:
    _named(value)


def _named(tools: Json) -> set[str]:
    """The functions among the tools, by name."""
    names: set[str] = set()
    for index, tool in enumerate(_list(tools, "tools")):
        where = f"tools[{index}]"
        if _text(_object(tool, where).get("type"), f"{where}.type") == "function":
            names.add(_check_function(_object(tool, where).get("function"), f"{where}.function"))
    return names


def _check_choice(name: str, value: Json, fields: Fields) -> None:
    tools = fields.get("tools")
    if isinstance(value, str):
        if value not in ("none", "auto", "required"):
            _refuse(name, "must be none, auto, required, or an object that names one of 'tools'")
        if value == "required" and not tools:
            _refuse(name, "is required, and there are no 'tools' to choose from")
        return
    wanted = _object(value, name)
    if _text(wanted.get("type"), "tool_choice.type") == "function":
        chosen = _text(_object(wanted.get("function"), "tool_choice.function").get("name"), "tool_choice.function.name")
        if tools is None or chosen not in _named(tools):
            _refuse(name, f"names {chosen[:64]!r}, which is none of 'tools'")


def _check_function(given: Json, where: str) -> str:
    function = _object(given, where)
    name = _text(function.get("name"), f"{where}.name")
    if function.get("description") is not None:
        _text(function["description"], f"{where}.description", empty=True)
    if function.get("parameters") is not None:
        _object(function["parameters"], f"{where}.parameters")
    return name


def _check_modalities(name: str, value: Json, fields: Fields) -> None:
    for index, modality in enumerate(_list(value, name)):
        if _text(modality, f"modalities[{index}]") == "audio" and fields.get("audio") is None:
            _refuse("audio", "is required where 'modalities' has audio: an object with a voice and a format")


_SAMPLING: dict[str, Check] = {
    "temperature": _range(0, 2),
    "top_p": _range(0, 1),
    "frequency_penalty": _range(-2, 2),
    "presence_penalty": _range(-2, 2),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), _check_most),
    "seed": _check_seed,
    "stop": _check_stop,
    "logit_bias": _check_bias,
}
_CHAT: dict[str, Check] = {
    **_SAMPLING,
    **dict.fromkeys(("logprobs", "parallel_tool_calls", "store"), _kind(bool, "a boolean")),
    **dict.fromkeys(
        ("user", "reasoning_effort", "verbosity", "service_tier", "safety_identifier", "prompt_cache_key"),
        _kind(str, "a text"),
    ),
    **dict.fromkeys(("metadata", "prediction", "web_search_options"), _kind(dict, "an object")),
    "functions": _kind(list, "a list"),
    "top_logprobs": _check_top_logprobs,
    "response_format": _check_format,
    "tools": _check_tools,
    "tool_choice": _check_choice,
    "audio": _kind(dict, "an object"),
    "modalities": _check_modalities,
}
"""What each field may be; a request is checked for the fields it has."""


# -- messages ----------------------------------------------------------------------------------------------------------


def check_messages(messages: Sequence[Fields]) -> None:
    """Each message by its role, that every result of a tool belongs to a call before it, and that every call has its result before
    somebody else speaks. The roles and the kind of each content are as `penstock.core.body.read_messages` wants them."""
    called: set[str] = set()
    waiting: dict[str, str] = {}
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.get("role") != "tool":
            _check_answered(waiting)
        content = message.get("content")
        if isinstance(content, list):
            _check_parts(content, f"{where}.content")
        if message.get("name") is not None:
            _text(message["name"], f"{where}.name")
        match message.get("role"):
            case "assistant":
                waiting = _check_calls(message.get("tool_calls"), f"{where}.tool_calls")
                called |= waiting.keys()
                if content is None and not any(
                    message.get(name)
                    for name in ("tool_calls", "function_call", "refusal", "audio", "reasoning_content")
                ):
                    _refuse(f"{where}.content", "is required where an assistant calls no tool")
            case "tool":
                given = _text(message.get("tool_call_id"), f"{where}.tool_call_id")
                if given not in called:
                    _refuse(f"{where}.tool_call_id", f"is {given[:64]!r}, which no message before it has called")
                waiting.pop(given, None)
                _said(content, where)
            case "system" | "developer" | "user":
                _said(content, where)

    _check_answered(waiting)


def _check_answered(waiting: Mapping[str, str]) -> None:
    for call_id, where in waiting.items():
        _refuse(where, f"has a call {call_id[:64]!r} without its result: a 'tool' message behind it, before any other")


def _said(content: Json, where: str) -> None:
    if content is None:
        _refuse(f"{where}.content", "is required: a text, or a list of parts")


def _check_calls(given: Json, where: str) -> dict[str, str]:
    """The ids of an assistant's calls, and where each stands."""
    ids: dict[str, str] = {}
    if given is None:
        return ids
    for index, each in enumerate(_list(given, where)):
        place = f"{where}[{index}]"
        call = _object(each, place)
        ids[_text(call.get("id"), f"{place}.id")] = place
        if call.get("type", "function") == "function":
            function = _object(call.get("function"), f"{place}.function")
            _text(function.get("name"), f"{place}.function.name")
            if not isinstance(function.get("arguments"), str):
                _refuse(f"{place}.function.arguments", "must be a text that holds JSON")
    return ids


def _check_parts(parts: Sequence[Json], where: str) -> None:
    if not parts:
        _refuse(where, "must hold at least one part")
    for index, each in enumerate(parts):
        place = f"{where}[{index}]"
        part = _object(each, place)
        kind = _text(part.get("type"), f"{place}.type")
        check = _PARTS.get(kind)
        if check is not None:
            check(part.get(kind), f"{place}.{kind}")


def _check_text(given: Json, where: str) -> None:
    _text(given, where, empty=True)


def _check_image(given: Json, where: str) -> None:
    if isinstance(given, str):
        _check_url(given, where)  # some clients leave out the object around it
        return
    image = _object(given, where)
    _check_url(_text(image.get("url"), f"{where}.url"), f"{where}.url")
    if image.get("detail") is not None:
        _text(image["detail"], f"{where}.detail")


def _check_url(url: str, where: str) -> None:
    scheme = url[:8].lower()
    if scheme.startswith("data:"):
        head, comma, data = url.partition(",")
        if not comma or not data or not head.endswith(";base64"):
            _refuse(where, "must hold its image as base64, as in data:image/png;base64,iVBORw0…")
    elif not scheme.startswith(("http://", "https://")):
        _refuse(where, "must be the URL of an image: http, https or data")


def _check_audio(given: Json, where: str) -> None:
    audio = _object(given, where)
    _text(audio.get("data"), f"{where}.data")
    _text(audio.get("format"), f"{where}.format")


def _check_file(given: Json, where: str) -> None:
    file = _object(given, where)
    for name in ("file_data", "file_id", "filename"):
        if file.get(name) is not None:
            _text(file[name], f"{where}.{name}")
    if file.get("file_data") is None and file.get("file_id") is None:
        _refuse(where, "must have file_data or file_id")


_PARTS: dict[str, Callable[[Json, str], None]] = {
    "text": _check_text,
    "refusal": _check_text,
    "image_url": _check_image,
    "input_audio": _check_audio,
    "file": _check_file,
}
"""The parts of a content that OpenAI has; their value stands under their own name."""


# -- values ------------------------------------------------------------------------------------------------------------


def _is_whole(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(value: Json, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        _refuse(where, "must be an object" if value is not None else "is required: an object")
    return value


def _list(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list):
        _refuse(where, "must be a list")
    return value


def _text(value: Json, where: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        _refuse(where, "must be a text" if value is not None else "is required: a text")
    return value


def _refuse(where: str, what: str) -> NoReturn:
    raise Refused("invalid_request", f"'{where}' {what}", param=where)


def whole_number(fields: dict[str, Json], name: str, *, least: int, most: int | None = None) -> int | None:
    """Remove and return a whole number within its bounds. Raises `Refused`."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if not _is_whole(value) or value < least or (most is not None and value > most):
        bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise wrong(name, f"a whole number {bounds}", value)
    return value


def wrong(param: str, wanted: str, found: Json) -> Refused:
    """The refusal of a field that is not what it must be; of what was `found` it shows little."""
    return Refused("invalid_request", f"'{param}' must be {wanted}, not {_shown(found)}", param=param)


def _shown(value: Json) -> str:
    """A JSON value in a message to its sender: short, and never much of what they said."""
    if isinstance(value, str):
        return f'"{value[:40]}"'
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else "such a large number"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object"
