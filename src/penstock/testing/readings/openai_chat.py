"""OpenAI chat chunks, added up by choice and member as the SDKs do it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Reading
from penstock.testing.wire import Received


def read_openai_chat(messages: Iterable[Received]) -> Reading:
    """Chunks, added up by choice and member as the SDKs do it."""
    reading = Reading()
    for message in messages:
        chunk: Any = message.value
        if chunk == "[DONE]" or "error" in chunk:
            reading.ending = chunk
            continue
        if chunk.get("usage"):
            reading.others.append(chunk["usage"])
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            for name, kind in (("content", "text"), ("reasoning_content", "reasoning"), ("refusal", "refusal")):
                if name in delta:
                    part = reading.part((index, kind), index, kind)
                    part.text += delta[name]
                    part.logprobs += [choice["logprobs"]] if choice.get("logprobs") else []
            for call in delta.get("tool_calls", ()):
                function = call["function"]
                part = reading.part((index, "tool_call", call["index"]), index, "tool_call")
                if "id" in call:
                    part.key += (call["id"], function["name"])
                part.text += function["arguments"]
            if choice["finish_reason"] is not None:
                reading.others.append((index, choice["finish_reason"]))
                reading.ending = reading.ending or "finished"
    return reading


def whole_openai_chat(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    said = {choice["index"]: choice["message"]["content"] or "" for choice in value["choices"]}
    return str(said.get(0, ""))
