"""Law: an answer of Anthropic's reads the same to a client of Anthropic's when it has gone through penstock.

Both streams are added up as Anthropic's own clients do it. Texts that follow one another are one, since a source joins them. What
a `tool_use` has beside its id and name stays with its part (`Closed.meta`), where a stream has no more place for it.
"""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from penstock.core.cursor import Entry
from penstock.core.events import Finished, Started
from penstock.core.frame import View
from penstock.dialects.anthropic import AnthropicDialect
from tests.clients.eventsource_parser import EventStreamParser
from tests.sources.recordings import RECORDINGS, parsed, parser_of

Object = dict[str, Any]
COMPLETE = [
    path
    for path in RECORDINGS
    if path.stem.startswith("anthropic") and isinstance(parsed(parser_of(path), path.read_bytes())[-1], Finished)
]
ODD = {"anthropic_odd", "anthropic_halves"}
"""Recordings that hold what no client of Anthropic's would take."""


def added_up(events: list[Object]) -> Object:
    """The message a stream of events adds up to."""
    blocks: dict[int, Object] = {}
    inputs: dict[int, str] = {}
    end: Object = {}
    usage: Object = {}
    for event in events:
        match event["type"]:
            case "message_start":
                usage |= event["message"]["usage"]
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                block, delta = blocks[event["index"]], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "citations_delta":
                        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
                    case "input_json_delta":
                        inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            case "message_delta":
                end, usage = event["delta"], usage | event["usage"]
    for index, said in inputs.items():
        if said:
            blocks[index]["input"] = json.loads(said)
    return {"content": joined(list(blocks.values())), "end": without_nothing(end), "usage": counted(usage)}


def joined(blocks: list[Object]) -> list[Object]:
    """Neighbouring texts as one, and nothing that is empty."""
    content: list[Object] = []
    for block in map(without_nothing, blocks):
        if block["type"] == "tool_use":
            block.pop("caller", None)
        if content and block["type"] == content[-1]["type"] == "text":
            content[-1]["text"] = content[-1].get("text", "") + block.get("text", "")
            if cited := [*content[-1].get("citations", []), *block.get("citations", [])]:
                content[-1]["citations"] = cited
        else:
            content.append(block)
    return content


def without_nothing(members: Object) -> Object:
    return {name: member for name, member in members.items() if member not in (None, "", [])}


def counted(usage: Object) -> Object:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    return {**{name: usage.get(name) or 0 for name in names}, "thought": thought}


def told(recording: Path) -> list[Object]:
    events = [Started("st_1", "m", 0), *parsed(parser_of(recording), recording.read_bytes())]
    renderer = AnthropicDialect().renderer(View(run="st_1", model="m"))
    entries = [Entry(offset, offset, 0, event) for offset, event in zip(count(1), events)]
    return [json.loads(frame.data) for entry in entries for frame in renderer.render(entry)]


@pytest.mark.parametrize("recording", [path for path in COMPLETE if path.stem not in ODD], ids=lambda path: path.stem)
def test_an_answer_of_anthropics_adds_up_to_the_same_message(recording: Path) -> None:
    original = [json.loads(event.data) for event in EventStreamParser().feed(recording.read_bytes())]
    assert added_up(told(recording)) == added_up(original)


def test_there_are_recordings_of_it() -> None:
    assert len(COMPLETE) > 8
