"""Recordings of providers' streams, and the parser each kind of them is for."""

import re
from itertools import pairwise
from pathlib import Path

from penstock.core.events import Event, Failed
from penstock.sources.anthropic_http import AnthropicMessages
from penstock.sources.ending import Ending
from penstock.sources.ollama_http import OllamaChat
from penstock.sources.openai_http import OpenAIChat
from penstock.sources.parser import Parser
from penstock.sources.provider import Protocol
from penstock.sources.responses_http import OpenAIResponses

FOLDER = Path(__file__).parents[2] / "protocols" / "upstream"
RECORDINGS = sorted({*FOLDER.glob("*.sse"), *FOLDER.glob("*.ndjson")})
PROTOCOLS: dict[str, Protocol] = {
    "anthropic": AnthropicMessages(),
    "ollama": OllamaChat(),
    "responses": OpenAIResponses(),
}
"""By the first word of a recording's name; all others speak OpenAI's chat."""


_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\n")


def protocol_of(recording: Path) -> Protocol:
    return PROTOCOLS.get(recording.stem.partition("_")[0], OpenAIChat())


def parser_of(recording: Path) -> Parser[Ending]:
    return protocol_of(recording).parser("provider.test", secret=None)


def parsed(parser: Parser[Ending], *pieces: bytes) -> list[Event]:
    """The events of a stream that ends cleanly; a failure as its `Failed`."""
    events: list[Event] = []
    for piece in pieces:
        if not parser.answer.ended:
            events += parser.feed(piece)
    if not parser.answer.ended:
        events += parser.end()
    if parser.answer.broken is not None:
        events.append(Failed(parser.answer.broken.fault))
    return events


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces that end anywhere."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def events_of(recording: Path) -> list[bytes]:
    """The stream in whole events, their ends included."""
    stream = recording.read_bytes()
    ends = [match.end() for match in (_LINE_END if recording.suffix == ".ndjson" else _EVENT_END).finditer(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True) if start < end]
