"""OpenAI's older completions, added up by choice as the SDKs do it; the order of messages is that of `types/completion.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received

LOGPROBS = {"tokens", "token_logprobs", "top_logprobs", "text_offset"}


def read_openai_completions(messages: Iterable[Received]) -> Reading:
    """Texts joined by choice. Raises `Illegal` for words after the end of their choice, or anything after the end of all."""
    reading = Reading()
    ended: set[int] = set()
    head: Any = None
    over = False
    for message in messages:
        value: Any = message.value
        if over:
            raise Illegal(f"{value!r} follows the end")
        if value == "[DONE]":
            if not ended:
                raise Illegal("[DONE] without an answer")
            over = True
            reading.ending = value
            continue
        if "error" in value:
            over = True
            reading.ending = value
            continue
        if value["object"] != "text_completion":
            raise Illegal(f"{value['object']!r} is no text_completion")
        told = value["id"], value["model"], value["created"]
        if head not in (None, told):
            raise Illegal(f"an answer that was {head} is {told}")
        head = told
        if value.get("usage"):
            if value["choices"]:
                raise Illegal("usage stands in a message of its own")
            reading.others.append(value["usage"])
        for choice in value["choices"]:
            _add(reading, choice, ended)
    return reading


def _add(reading: Reading, choice: Any, ended: set[int]) -> None:
    index = choice["index"]
    if index in ended:
        raise Illegal(f"choice {index} has ended")
    part = reading.part(index, index, "text")
    part.text += choice["text"]
    logprobs = choice["logprobs"]
    if logprobs is not None:
        if set(logprobs) != LOGPROBS or len({len(each) for each in logprobs.values()}) != 1:
            raise Illegal(f"log probabilities of {sorted(logprobs)} that do not agree")
        part.logprobs.append(logprobs)
    if choice["finish_reason"] is not None:
        ended.add(index)
        reading.others.append((index, choice["finish_reason"]))
        reading.ending = "finished"


def whole_openai_completions(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    said = {choice["index"]: choice["text"] for choice in value["choices"]}
    return str(said.get(0, ""))
