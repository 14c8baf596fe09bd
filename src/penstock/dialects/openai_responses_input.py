"""The `input` of a Responses request as chat messages; the table is in `openai_responses_request.py`."""

from __future__ import annotations

from penstock.core.carried import box
from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.core.request import Message
from penstock.core.signed_call import unsigned
from penstock.dialects.openai_fields import wrong

NAME = "openai-responses"
PARTS = ("input_text", "input_image", "input_file", "input_audio", "output_text", "refusal")
"""The content parts there are. Whatever else stands in a box among the content of a message is an item of its own."""

_ROLES = ("user", "assistant", "system", "developer")
_BESIDE = frozenset({"type", "id", "status"})
"""What an item of an answer has beside what it says, and what is left out when it comes back: the ids are penstock's."""

Object = dict[str, Json]


def read_input(value: Json, messages: list[Message], places: dict[str, str], *, goes_on: bool) -> None:
    """Add the conversation in `input`, a text or a list of items, and where each message and part was said. Raises `Refused`.

    With `goes_on` (the request has a `previous_response_id`) a result may belong to a call of the answer before it.
    """
    if isinstance(value, str):
        places[f"messages[{len(messages)}]"] = "input"
        messages.append({"role": "user", "content": value})
        return
    if not isinstance(value, list) or not value:
        raise wrong("input", "a text, or a list with at least one item", value)
    conversation = _Conversation(messages, places, goes_on=goes_on)
    for index, item in enumerate(value):
        conversation.add(item, f"input[{index}]")
    conversation.end()


class _Conversation:
    """Items become messages: what one assistant turn holds (reasoning, text, calls) is one message, as chat wants it."""

    def __init__(self, messages: list[Message], places: dict[str, str], *, goes_on: bool):
        self.messages = messages
        self._places = places
        self._open: Message | None = None
        """The assistant message that the next item of the assistant joins."""
        self._thoughts: list[str] = []
        """What it thought, joined once the message is over."""
        self._goes_on = goes_on
        self._calls: dict[str, str] = {}
        """Where each call stands, by its id, until it is answered."""
        self._answered: set[str] = set()

    def add(self, item: Json, where: str) -> None:
        before = self._open
        held = _length(before, "content"), _length(before, "tool_calls")
        self._add(item, where)
        at = len(self.messages) - 1
        message = self.messages[at]
        parts, calls = held if message is before else (0, 0)
        if message is not before:
            self._places[f"messages[{at}]"] = where
        added = range(parts, _length(message, "content"))
        inside = next((name for name in ("content", "output") if _length(item, name) == len(added)), "")
        for place in added:
            here = f"{where}.{inside}[{place - parts}]" if inside else where
            self._places[f"messages[{at}].content[{place}]"] = here
        for place in range(calls, _length(message, "tool_calls")):
            self._places[f"messages[{at}].tool_calls[{place}]"] = where

    def _add(self, item: Json, where: str) -> None:
        if not isinstance(item, dict):
            raise wrong(where, "an object", item)
        kind = item.get("type", "message" if "role" in item else "item_reference" if item.get("id") else None)
        if not isinstance(kind, str):
            raise wrong(f"{where}.type", 'a text such as "message"', kind)
        match kind:
            case "message":
                self._message(item, where)
            case "function_call":
                self._call(item, where)
            case "function_call_output":
                self._output(item, where)
            case "reasoning":
                self._reasoning(item, where)
            case "compaction" | "item_reference":
                self._goes_on = True  # the call that a result belongs to may be behind it
                self._foreign(item, kind)
            case _:
                self._foreign(item, kind)

    def end(self) -> None:
        """No item follows. Raises `Refused` for a call that was not answered."""
        self._over()
        for call_id, where in self._calls.items():
            raise Refused(
                "invalid_request",
                f"the function call {call_id!r} at {where} has no output: send a 'function_call_output' with its call_id",
                param="input",
            )

    def _message(self, item: Object, where: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise wrong(f"{where}.role", "one of " + ", ".join(_ROLES), role)
        if told(item, _BESIDE | {"role", "content"}):
            content: Json = [box(NAME, item)]
        else:
            content = read_content(item.get("content"), f"{where}.content", spoken=role == "assistant")
        if role != "assistant":
            self._say({"role": role, "content": content})
            return
        message = self._turn()
        before = message.get("content")
        message["content"] = content if before is None else _joined(before, content)

    def _call(self, item: Object, where: str) -> None:
        call_id, name = text(item, "call_id", where), text(item, "name", where)
        arguments = text(item, "arguments", where, empty=True)
        if call_id in self._calls or call_id in self._answered:
            raise Refused(
                "invalid_request", f"two function calls have the call_id {call_id!r}", param=f"{where}.call_id"
            )
        self._calls[call_id] = where
        if told(item, _BESIDE | {"call_id", "name", "arguments"}):
            self._foreign(item, "function_call")
            return
        plain, again = unsigned(call_id)
        call: Object = {"id": plain, "type": "function", "function": {"name": name, "arguments": arguments}, **again}
        message = self._turn()
        calls = message.setdefault("tool_calls", [])
        if isinstance(calls, list):
            calls.append(call)
        message.setdefault("content", None)

    def _output(self, item: Object, where: str) -> None:
        call_id = text(item, "call_id", where)
        if self._calls.pop(call_id, None) is None:
            if call_id in self._answered:
                raise Refused("invalid_request", f"the call {call_id!r} has two outputs", param=f"{where}.call_id")
            if not self._goes_on:
                raise Refused(
                    "invalid_request",
                    f"no function call with the call_id {call_id!r} stands before this output: send the 'function_call' "
                    "item too, or 'previous_response_id'",
                    param=f"{where}.call_id",
                )
        self._answered.add(call_id)
        if told(item, _BESIDE | {"call_id", "output"}):
            self._foreign(item, "function_call_output")
            return
        content = read_content(item.get("output"), f"{where}.output", spoken=False)
        self._say({"role": "tool", "tool_call_id": unsigned(call_id)[0], "content": content})

    def _reasoning(self, item: Object, where: str) -> None:
        """What only its maker can read goes back as it is; what is plain text is `reasoning_content`."""
        thoughts = [
            *_texts(item.get("content"), f"{where}.content", "reasoning_text"),
            *(() if item.get("content") else _texts(item.get("summary"), f"{where}.summary", "summary_text")),
        ]
        if told(item, _BESIDE | {"summary", "content"}):
            self._foreign(item, "reasoning")
            return
        if self._open is not None and self._open.get("content") and not self._open.get("tool_calls"):
            self._over()  # it came after what was said; calls alone wait for their outputs together
        message = self._turn()
        message.setdefault("reasoning_content", "")
        self._thoughts += thoughts
        message.setdefault("content", None)

    def _foreign(self, item: Object, kind: str) -> None:
        """An item that chat has no words for, in its place."""
        if kind.endswith(("_output", "_response")):
            self._say({"role": "user", "content": [box(NAME, item)]})
            return
        if self._open is not None and self._open.get("tool_calls"):
            self._over()  # it stood behind the calls, and does again
        message = self._turn()
        message["content"] = _joined(message.get("content"), [box(NAME, item)])

    def _turn(self) -> Message:
        if self._open is None:
            self._open = {"role": "assistant"}
            self.messages.append(self._open)
        return self._open

    def _over(self) -> None:
        """Nothing joins the assistant's message any more."""
        if self._open is not None and self._thoughts:
            self._open["reasoning_content"] = "\n\n".join(self._thoughts)
            self._thoughts = []
        self._open = None

    def _say(self, message: Message) -> None:
        self._over()
        self.messages.append(message)


def read_content(value: Json, where: str, *, spoken: bool) -> str | list[Json]:
    """Text, or content parts; one text part alone is its text. `spoken` by the assistant. Raises `Refused`."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(where, "a text or a list of parts", value)
    parts = [_part(part, f"{where}[{index}]", spoken=spoken) for index, part in enumerate(value)]
    if len(parts) == 1 and isinstance(only := parts[0], dict) and only.keys() == {"type", "text"}:
        return str(only["text"])
    return parts


def _part(part: Json, where: str, *, spoken: bool) -> Json:
    if not isinstance(part, dict):
        raise wrong(where, "an object", part)
    kind = part.get("type")
    if kind not in PARTS:
        raise wrong(f"{where}.type", "one of " + ", ".join(sorted(PARTS)), kind)
    match kind:
        case "input_text":
            text(part, "text", where, empty=True)
            # What is said beside the text (`prompt_cache_breakpoint`) has the same name in chat.
            return {**part, "type": "text"}
        case "output_text":
            return {"type": "text", "text": text(part, "text", where, empty=True), **_beside_text(part, where)}
        case "refusal":
            return {"type": "refusal", "refusal": text(part, "refusal", where, empty=True)}
        case "input_image":
            return _image(part, where)
        case "input_audio":
            return _audio(part, where)
    return _file(part, where)


def _beside_text(part: Object, where: str) -> Object:
    """What was told with a text of the answer, where there is any."""
    beside: Object = {}
    for name in ("annotations", "logprobs"):
        if value := part.get(name):
            if not isinstance(value, list):
                raise wrong(f"{where}.{name}", "a list", value)
            beside[name] = value
    return beside


def _image(part: Object, where: str) -> Json:
    if part.get("image_url") is None:
        if part.get("file_id") is None:
            raise Refused("invalid_request", f"'{where}' needs 'image_url' or 'file_id'", param=f"{where}.image_url")
        text(part, "file_id", where)
        return box(NAME, part)
    image: Object = {"url": text(part, "image_url", where)}
    if part.get("detail") is not None:
        image["detail"] = text(part, "detail", where)
    rest = {name: value for name, value in part.items() if name not in ("type", "image_url", "detail")}
    return {
        "type": "image_url",
        "image_url": image,
        **{name: value for name, value in rest.items() if value is not None},
    }


def _audio(part: Object, where: str) -> Json:
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        raise wrong(f"{where}.input_audio", "an object", audio)
    text(audio, "data", f"{where}.input_audio")
    text(audio, "format", f"{where}.input_audio")
    return part


def _file(part: Object, where: str) -> Json:
    known = ("file_data", "file_id", "filename")
    for name in (*known, "file_url"):
        if part.get(name) is not None:
            text(part, name, where)
    if not any(part.get(name) for name in ("file_data", "file_id", "file_url")):
        raise Refused(
            "invalid_request", f"'{where}' needs 'file_data', 'file_id' or 'file_url'", param=f"{where}.file_data"
        )
    if told(part, {"type", "prompt_cache_breakpoint", *known}):
        return box(NAME, part)
    file: Object = {name: part[name] for name in known if part.get(name) is not None}
    said: Object = {"type": "file", "file": file}
    if part.get("prompt_cache_breakpoint") is not None:
        said["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
    return said


def told(item: Object, known: frozenset[str] | set[str]) -> bool:
    """Whether an object says more than what is `known`."""
    return any(value is not None for name, value in item.items() if name not in known)


def text(item: Object, name: str, where: str, *, empty: bool = False) -> str:
    """A required text member. Raises `Refused`, naming it."""
    value = item.get(name)
    if not isinstance(value, str) or not (value or empty):
        place = f"{where}.{name}" if where else name
        raise wrong(place, "a text" if empty else "a text that is not empty", value)
    return value


def _texts(value: Json, where: str, kind: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    said = []
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != kind:
            raise wrong(f"{where}[{index}]", f'an object of type "{kind}"', part)
        said.append(text(part, "text", f"{where}[{index}]", empty=True))
    return said


def _length(value: Json | Message, name: str) -> int:
    """How many a member of an object holds; a text is one."""
    held = value.get(name) if isinstance(value, dict) else None
    return len(held) if isinstance(held, list) else 1 if isinstance(held, str) else 0


def _parts(content: Json) -> list[Json]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if isinstance(content, str) else []


def _joined(content: Json, more: Json) -> list[Json]:
    """One content after the other. A list, which is ours, grows where it is: there may be a hundred thousand to join."""
    parts = _parts(content)
    parts += _parts(more)
    return parts
