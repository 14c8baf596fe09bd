"""OpenAI Responses, read as strictly as a client may that trusts the event types of openai-python (`types/responses/`).

An item is added before anything is said of it, its content part before its text; what an event tells again (`.done`, the item, the
response) is what was added up; numbers grow; nothing follows the ending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Part, Reading
from penstock.testing.wire import Received

ENDINGS = {
    "response.completed": ("completed",),
    "response.incomplete": ("incomplete",),
    "response.failed": ("failed", "cancelled"),
}
_SAYS = {"output_text": "text", "refusal": "refusal"}
"""Content parts of a message: the kind of each, which is also that of its words."""
_GROWING = ("message", "reasoning", "function_call")
"""Items that are said in pieces. All others are whole as they are added."""


def read_openai_responses(messages: Iterable[Received]) -> Reading:
    """One stream from `response.created` on; what is told again is checked and not added. Raises `Illegal`."""
    stream = _Stream()
    for message in messages:
        stream.take(message.value)
    return stream.reading


def whole_openai_responses(value: Any) -> str:
    """The words of an answer that was not streamed."""
    said = [
        part["text"] for item in value["output"] for part in item.get("content", ()) if part["type"] == "output_text"
    ]
    return "\n\n".join(text for text in said if text)


class _Open:
    """An item that was added and is not done."""

    def __init__(self, item: Any, part: Part):
        self.item = item
        self.part = part
        self.before = ""
        """What the event that opened it says was said before."""
        self.content: str | None = None
        """The type of its content part, once that was added."""
        self.closed = False
        """Its words are complete."""
        self.annotations: list[Any] = []
        self.logprobs: list[Any] = []

    @property
    def said(self) -> str:
        return self.before + self.part.text


class _Stream:
    def __init__(self) -> None:
        self.reading = Reading()
        self.response = ""
        self.number = -1
        self.open: dict[int, _Open] = {}
        self.done: dict[int, Any] = {}

    def take(self, event: Any) -> None:
        kind, number = event["type"], event["sequence_number"]
        if number <= self.number:
            raise Illegal(f"{kind} has the number {number} after {self.number}")
        self.number = number
        if self.reading.ending is not None:
            raise Illegal(f"{kind} after the ending")
        if kind != "response.created" and not self.response:
            raise Illegal(f"{kind} before response.created")
        if kind in ENDINGS:
            self._end(kind, event)
        elif (step := _STEPS.get(kind)) is not None:
            step(self, event)
        elif (
            "output_index" not in event or kind.count(".") != 2 or self._item(event).item["type"] != kind.split(".")[1]
        ):
            raise Illegal(f"no event is called {kind}")

    def _lifecycle(self, event: Any) -> None:
        response = event["response"]
        if self.response not in ("", response["id"]) or (self.response and event["type"] == "response.created"):
            raise Illegal("one stream tells of two responses")
        self.response = response["id"]
        if response["status"] not in ("queued", "in_progress") or response["output"]:
            raise Illegal(f"a response that begins is {response['status']} with {len(response['output'])} items")

    def _added(self, event: Any) -> None:
        index, item = event["output_index"], event["item"]
        if index in self.open or index in self.done:
            raise Illegal(f"two items have the index {index}")
        if item["type"] in _GROWING and item.get("status") in ("completed", "incomplete"):
            # Opened again for a new parser: it was done before, and is added whole to keep its place.
            self.done[index] = item
            return
        name = "text" if item["type"] == "message" else {"function_call": "tool_call"}.get(item["type"], item["type"])
        key = (0, name, item["call_id"], item["name"]) if name == "tool_call" else (0, name)
        opened = self.open[index] = _Open(item, self.reading.part(item["id"], *key))
        if item["type"] == "function_call":
            opened.before, opened.content = item["arguments"], "arguments"
        elif item.get("content") or item.get("summary"):
            raise Illegal("an item is added with its content")

    def _part_added(self, event: Any) -> None:
        opened = self._item(event)
        part = event["part"]
        wanted = {"message": tuple(_SAYS), "reasoning": ("summary_text",)}.get(opened.item["type"], ())
        if opened.content is not None or part["type"] not in wanted:
            raise Illegal(f"{part['type']} is added to {opened.item['type']} that has {opened.content}")
        opened.content = part["type"]
        opened.before = part["refusal"] if part["type"] == "refusal" else part["text"]
        opened.logprobs = list(part.get("logprobs", []))
        if part["type"] == "refusal":
            opened.part.key = (0, "refusal")

    def _delta(self, event: Any) -> None:
        opened = self._item(event)
        if opened.content != _CONTENT[event["type"]] or opened.closed:
            raise Illegal(f"{event['type']} for an item whose content is {opened.content}")
        opened.part.text += event["delta"]
        opened.part.logprobs += event.get("logprobs", [])
        opened.logprobs += event.get("logprobs", [])

    def _annotation(self, event: Any) -> None:
        opened = self._item(event)
        if event["annotation_index"] != len(opened.annotations):
            raise Illegal("annotations out of order")
        opened.annotations.append(event["annotation"])

    def _said(self, event: Any) -> None:
        opened = self._item(event)
        if opened.content != _CONTENT[event["type"]] or opened.closed:
            raise Illegal(f"{event['type']} for an item whose content is {opened.content}")
        told = event[{"refusal": "refusal", "arguments": "arguments"}.get(opened.content, "text")]
        if told != opened.said:
            raise Illegal(f"{told!r} was told as {opened.said!r}")
        opened.closed = True

    def _part_done(self, event: Any) -> None:
        opened = self._item(event)
        if not opened.closed:
            raise Illegal("a part is done before its words are")
        self._check_part(opened, event["part"])

    def _check_part(self, opened: _Open, part: Any) -> None:
        told = part["refusal"] if part["type"] == "refusal" else part["text"]
        if part["type"] != opened.content or told != opened.said:
            raise Illegal(f"a part is told again as {part!r}")
        if part.get("annotations", []) != opened.annotations:
            raise Illegal("the annotations of a part are not those that were added")
        if part.get("logprobs", []) != opened.logprobs:
            raise Illegal("the log probabilities of a part are not those that were added")

    def _done(self, event: Any) -> None:
        index, item = event["output_index"], event["item"]
        opened = self.open.pop(index, None)
        if opened is None:
            raise Illegal(f"item {index} is done before it was added")
        if (item["id"], item["type"]) != (opened.item["id"], opened.item["type"]):
            raise Illegal("an item changed its identity")
        if item["type"] == "function_call":
            if not opened.closed or item["arguments"] != opened.said:
                raise Illegal("the arguments of a call are not what was told")
        elif item["type"] in ("message", "reasoning"):
            parts = item["content"] if item["type"] == "message" else item["summary"]
            if not opened.closed or len(parts) != 1:
                raise Illegal("an item is done before its content is")
            self._check_part(opened, parts[0])
        self.done[index] = item
        opened.part.closed = item.get("status", True)

    def _end(self, kind: str, event: Any) -> None:
        response = event["response"]
        if response["id"] != self.response or response["status"] not in ENDINGS[kind]:
            raise Illegal(f"{kind} of a response that is {response['status']}")
        if (response["error"] is None) == (kind == "response.failed"):
            raise Illegal(f"{kind} with the error {response['error']}")
        if (response["incomplete_details"] is None) == (kind == "response.incomplete"):
            raise Illegal(f"{kind} with the details {response['incomplete_details']}")
        if growing := [o.item["id"] for o in self.open.values() if o.item["type"] in _GROWING]:
            raise Illegal(f"the answer ended while {growing} were open")
        for index, item in self.done.items():
            if response["output"][index] != item:
                raise Illegal(f"item {index} is not what was streamed")
        self.reading.ending = event

    def _item(self, event: Any) -> _Open:
        opened = self.open.get(event["output_index"])
        if opened is None or opened.item["id"] != event["item_id"]:
            raise Illegal(f"{event['type']} for an item that is not open")
        return opened


_CONTENT = {
    "response.output_text.delta": "output_text",
    "response.output_text.done": "output_text",
    "response.refusal.delta": "refusal",
    "response.refusal.done": "refusal",
    "response.reasoning_summary_text.delta": "summary_text",
    "response.reasoning_summary_text.done": "summary_text",
    "response.function_call_arguments.delta": "arguments",
    "response.function_call_arguments.done": "arguments",
}
"""The content each event of words belongs to."""

_STEPS: dict[str, Callable[[_Stream, Any], None]] = {
    "response.created": _Stream._lifecycle,
    "response.queued": _Stream._lifecycle,
    "response.in_progress": _Stream._lifecycle,
    "response.output_item.added": _Stream._added,
    "response.content_part.added": _Stream._part_added,
    "response.reasoning_summary_part.added": _Stream._part_added,
    "response.output_text.annotation.added": _Stream._annotation,
    "response.content_part.done": _Stream._part_done,
    "response.reasoning_summary_part.done": _Stream._part_done,
    "response.output_item.done": _Stream._done,
    **{name: _Stream._delta if name.endswith(".delta") else _Stream._said for name in _CONTENT},
}
