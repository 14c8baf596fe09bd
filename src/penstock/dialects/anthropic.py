"""Anthropic Messages: a stream of events that build one message, or that message at once.

Only choice 0 is told, since a message is one answer. Notes and results of server tools have no words here and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from penstock.core.events import Fault, Finished, Json
from penstock.core.frame import Frame, Traits, View
from penstock.core.request import ChatRequest
from penstock.core.snapshot import PartSoFar, Snapshot
from penstock.dialects.anthropic_answer import (
    Stopping,
    boxed_block,
    citations,
    empty_block,
    error,
    message,
    signature,
    told,
    tool_input,
)
from penstock.dialects.anthropic_borders import Border, blocks_of, borders_of
from penstock.dialects.anthropic_messages import NAME
from penstock.dialects.anthropic_request import read_request
from penstock.dialects.anthropic_stream import AnthropicRenderer

OVERLOADED = 529
"""What Anthropic says in place of 503 (platform.claude.com/docs/en/api/errors)."""


class AnthropicDialect:
    """The dialect of `/v1/messages`."""

    name = NAME
    traits = Traits(
        cursor_key="cursor",
        retells=True,
        ping=Frame(b'{"type":"ping"}', "ping"),
        passes=("anthropic-version", "anthropic-beta"),
        statuses=dict.fromkeys(("overloaded", "provider_overloaded", "target_busy"), OVERLOADED),
        request_id=b"request-id",
    )

    def parse(self, body: bytes) -> ChatRequest:
        """As Anthropic reads it: `messages` and `max_tokens` are required, and a missing `stream` means false."""
        return read_request(body)

    def renderer(self, view: View) -> AnthropicRenderer:
        return AnthropicRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        model = snapshot.started.model if snapshot.started else view.model
        borders = borders_of(snapshot.notes)
        told_parts = (part for part in snapshot.parts if told(part.opening()))
        blocks = (block for part in told_parts for block in _blocks(part, borders.get(part.part, ())))
        stopping = Stopping()
        stopping.prime(snapshot)
        end = snapshot.end if isinstance(snapshot.end, Finished) else Finished()
        said: dict[str, Json] = {"content": list(blocks), "usage": stopping.usage(snapshot.usage)}
        return msgspec.json.encode({**message(view, model, snapshot.usage), **said, **stopping.delta(end)})

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return msgspec.json.encode({"type": "error", "error": error(fault), "request_id": request_id})


def _blocks(part: PartSoFar, borders: Sequence[Border]) -> Iterator[Json]:
    """A part as whole blocks; none for a box without a block."""
    if part.kind == "binary":
        if (boxed := boxed_block(part.data)) is not None:
            yield boxed
        return
    for piece in blocks_of(part, borders):
        block = empty_block(piece.opened)
        match part.kind:
            case "tool_call":
                block["input"] = tool_input(piece.text)
            case "reasoning":
                block.update(thinking=piece.text, signature=signature(piece.meta))
            case _:
                block["text"] = piece.text
                if cited := citations(part.kind, piece.meta):
                    block["citations"] = cited
        yield block
