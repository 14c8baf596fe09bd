"""OpenAI chat chunks, added up by choice and member as the SDKs do it, and no chunk taken that a strict one could not place.

The rules are those of `types/chat/chat_completion_chunk.py` and of OpenAI's reference of streaming: every chunk is of one completion, a
choice begins with its role and ends with its finish reason, a call of a tool begins with its id and name, and `[DONE]` is the last word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received

MEMBERS = (("content", "text"), ("reasoning_content", "reasoning"), ("refusal", "refusal"))


def read_openai_chat(messages: Iterable[Received]) -> Reading:
    """Chunks, added up. Raises `Illegal`."""
    client = _Client()
    for message in messages:
        client.take(message.value)
    return client.reading


class _Client:
    """What a client knows of one completion."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._head: Any = None
        self._choices: dict[int, int] = {}
        """The number of the next call of each choice that has begun."""
        self._ended: set[int] = set()
        self._counted = self._over = False

    def take(self, chunk: Any) -> None:
        """One message. Raises `Illegal`."""
        if self._over:
            raise Illegal(f"{chunk!r} follows the last word")
        if chunk == "[DONE]":
            if not self._ended or self._ended != set(self._choices):
                raise Illegal("[DONE] before every choice has its finish reason")
            self._over = True
            self.reading.ending = chunk
        elif "error" in chunk:
            self._over = True
            self.reading.ending = chunk
        else:
            self._chunk(chunk)

    def _chunk(self, chunk: Any) -> None:
        if chunk["object"] != "chat.completion.chunk":
            raise Illegal(f"{chunk['object']!r} is no chunk")
        head = chunk["id"], chunk["created"], chunk["model"]
        if self._head not in (None, head):
            raise Illegal(f"a chunk of {head} in the completion {self._head}")
        self._head = head
        if self._counted:
            raise Illegal("a chunk follows the usage")
        if chunk.get("usage"):
            if chunk["choices"] or self._ended != set(self._choices):
                raise Illegal("the usage comes alone, behind every finish reason")
            self._counted = True
            self.reading.others.append(chunk["usage"])
        elif not chunk["choices"]:
            raise Illegal("a chunk of nothing")
        for choice in chunk["choices"]:
            self._choice(choice)

    def _choice(self, choice: Any) -> None:
        index, delta = choice["index"], choice["delta"]
        if index in self._ended:
            raise Illegal(f"choice {index} goes on behind its finish reason")
        if ("role" in delta) != (index not in self._choices):
            raise Illegal(f"the role of choice {index} stands in its first chunk, and in no other")
        self._choices.setdefault(index, 0)
        for name, kind in MEMBERS:
            # The empty text beside the role says nothing: a choice of tool calls has one, too.
            if name in delta:
                part = self.reading.part((index, kind), index, kind)
                part.text += delta[name]
                part.logprobs += [choice["logprobs"]] if choice.get("logprobs") else []
        for call in delta.get("tool_calls", ()):
            self._call(index, call)
        if choice["finish_reason"] is not None:
            self._ended.add(index)
            self.reading.others.append((index, choice["finish_reason"]))
            self.reading.ending = self.reading.ending or "finished"

    def _call(self, index: int, call: Any) -> None:
        function, name = call["function"], (index, "tool_call", call["index"])
        if "id" in call:
            if call["index"] < self._choices[index]:
                raise Illegal(f"call {call['index']} of choice {index} begins twice, or behind a later one")
            if not (call["id"] and call["type"] == "function" and isinstance(function["name"], str)):
                raise Illegal(f"a call begins with its id, type and name: {call!r}")
            self._choices[index] = call["index"] + 1
            self.reading.part(name, index, "tool_call", call["id"], function["name"])
        elif name not in self.reading.parts:
            raise Illegal(f"arguments of call {call['index']} of choice {index}, which has not begun")
        elif set(function) != {"arguments"}:
            raise Illegal(f"a call is named once: {call!r}")
        self.reading.parts[name].text += function["arguments"]


def whole_openai_chat(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    said = {choice["index"]: choice["message"]["content"] or "" for choice in value["choices"]}
    return str(said.get(0, ""))
