"""A run as the stream of an Anthropic message: blocks, one after the other, each with its deltas, its start and its stop.

A part is a block, or several where a note says so (`anthropic_borders`).
A run may have several parts open at once; a message has one block open at a time. So a block ends where the next part of the
answer begins, unless it is a tool call whose arguments are not complete, or a box: for the end of these the next part waits.
What a part says after its block has ended is told before the message ends, in a block more; after complete arguments there
can be nothing but white space, which is not told. All of that follows from a `Snapshot`, so that whoever comes back is told
the rest in the same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec
import orjson

from penstock.core.cursor import Entry
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Finished,
    Json,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.frame import Frame, View
from penstock.core.snapshot import Snapshot, pieces
from penstock.dialects.anthropic_answer import (
    Stopping,
    boxed_block,
    cancelled,
    citations,
    complete,
    empty_block,
    error,
    message,
    signature,
    told,
)
from penstock.dialects.anthropic_borders import blocks_of, border_of, borders_of, cited_by, untold
from penstock.dialects.anthropic_fields import Object

_DELTAS = {
    "text": b'{"type":"text_delta","text":',
    "refusal": b'{"type":"text_delta","text":',
    "reasoning": b'{"type":"thinking_delta","thinking":',
    "tool_call": b'{"type":"input_json_delta","partial_json":',
}
_DELTA = "content_block_delta"


class _Block:
    """A part that is told, or one block of it: what of it waits to be told, and how far it has come."""

    __slots__ = ("begin", "cited", "closed", "cut", "data", "late", "meta", "opened", "stopped", "words")

    def __init__(self, opened: Opened, begin: int, cited: list[Json]):
        self.opened = opened
        self.begin = begin
        """How many characters of its part blocks before it have said."""
        self.cited = cited
        """The citations that these blocks ended with: one list, for all blocks of the part."""
        self.words: list[str] = []
        """Of a block that has not begun: what it will say. Of a tool call: its arguments."""
        self.data = bytearray()
        self.cut = False
        """The next part began while this one was open, and did not have to wait for it."""
        self.late: list[str] = []
        """What it said after that."""
        self.closed = self.stopped = False
        self.meta: dict[str, Json] | None = None

    def next_begins(self, said: int | None = None) -> None:
        """Another part begins; this one had said `said` characters by then, or as much as is here."""
        if self.opened.kind == "binary":
            return
        text = "".join(self.words)
        before = text if said is None else text[:said]
        if self.opened.kind != "tool_call" or complete(before):
            self.cut = True
            self.words, self.late = [before], [text[len(before) :]]


class AnthropicRenderer:
    """Remembers the blocks, which of them is open, why the answer may stop, and the usage."""

    __slots__ = (
        "_around",
        "_begun",
        "_blocks",
        "_by_part",
        "_index",
        "_model",
        "_past",
        "_started",
        "_stopping",
        "_usage",
        "_view",
    )

    def __init__(self, view: View):
        self._view = view
        self._model = view.model
        self._past = Snapshot()
        self._blocks: list[_Block] = []
        self._by_part: dict[int, _Block] = {}
        self._around: dict[int, tuple[bytes, bytes, list[str] | None]] = {}
        """Of the open block: what stands before and after a piece of its text, and where the arguments of a call gather."""
        self._started = 0
        """How many blocks have begun."""
        self._index = -1
        """The number of the last block the client was told of."""
        self._begun = False
        self._stopping = Stopping()
        self._usage: Usage | None = None

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        self._learn(so_far)

    def rejoin(self) -> Sequence[Frame]:
        return AnthropicRenderer(self._view)._learn(self._past)

    def reopen(self) -> Sequence[Frame]:
        """The blocks of the new parser are numbered anew: SDKs take a block's number for its place in the message."""
        if not self._begun:
            return ()
        frames = [self._message_start()]
        self._index = -1
        last = self._blocks[self._started - 1]
        if not last.stopped and last.opened.kind != "binary":
            frames.append(self._block_start(last, empty_block(last.opened)))
            self._go_on(last)
        return frames

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        if type(event) is Delta:
            around = self._around.get(event.part)
            if around is None:
                self._hold(event)
                return ()
            if not event.text:
                return ()
            before, after, arguments = around
            if arguments is not None:
                arguments.append(event.text)
            return (Frame(b"%b%b%b" % (before, orjson.dumps(event.text), after), _DELTA),)
        match event:
            case Delta():
                pass
            case Opened():
                return self._opened(event)
            case Chunk():
                if (block := self._by_part.get(event.part)) is not None:
                    block.data += event.data
            case Closed():
                return self._closed(event)
            case Started():
                self._model = event.model
            case Usage():
                self._usage = event
            case ToolReturned():
                self._stopping.returned(event.call_id)
            case Note():
                self._stopping.noted(event)
                return self._border(event)
            case Finished():
                return self._finished(event)
            case Failed():
                return [*self._late(), _frame("error", error=error(event.error))]
            case Cancelled():
                return [*self._late(), _frame("error", error=cancelled(event.by))]
            case _:
                assert_never(event)
        return ()

    def _learn(self, so_far: Snapshot) -> list[Frame]:
        """Take in the past; these are the frames it was told in, but for the size of their pieces."""
        if so_far.started:
            self._model = so_far.started.model
        self._usage = so_far.usage
        self._stopping.prime(so_far)
        borders = borders_of(so_far.notes)
        for part in so_far.parts:
            opened = part.opening()
            if not told(opened):
                continue
            if self._blocks:
                before = self._blocks[-1]
                said = dict(part.beside).get(before.opened.part)
                if said is not None:
                    before.next_begins(said - before.begin)
            for piece in blocks_of(part, borders.get(part.part, ())):
                block = self._add(piece.opened, piece.begin, piece.cited)
                block.words = [piece.text]
                block.data += part.data
                block.closed, block.meta = piece.closed, piece.meta
        return self._advance()

    def _opened(self, event: Opened) -> Sequence[Frame]:
        if not told(event):
            return ()
        self._stopping.opened(event)
        if self._blocks and not self._blocks[-1].closed:
            self._blocks[-1].next_begins()
        self._add(event)
        return self._advance()

    def _border(self, note: Note) -> Sequence[Frame]:
        """What is said of the text that is open belongs to another block from here on."""
        border = border_of(note)
        if border is None or not self._blocks:
            return ()
        last = self._blocks[-1]
        if last.closed or last.opened.kind != "text" or last.opened.part != border.part:
            return ()
        last.closed, last.meta = True, border.ended
        opened = msgspec.structs.replace(last.opened, meta=border.begun)
        last.cited.extend(cited_by(border.ended))
        self._add(opened, border.at, last.cited)
        return self._advance()

    def _add(self, opened: Opened, begin: int = 0, cited: list[Json] | None = None) -> _Block:
        block = self._by_part[opened.part] = _Block(opened, begin, [] if cited is None else cited)
        self._blocks.append(block)
        return block

    def _hold(self, event: Delta) -> None:
        """Words of a part that has no open block."""
        if (block := self._by_part.get(event.part)) is not None:
            (block.late if block.cut else block.words).append(event.text)

    def _closed(self, event: Closed) -> Sequence[Frame]:
        block = self._by_part.get(event.part)
        if block is None:
            return ()
        self._stopping.closed(event.part, event.meta)
        block.closed, block.meta = True, untold(event.meta, block.cited)
        return self._advance()

    def _advance(self) -> list[Frame]:
        """Stop the block that has ended, and begin those that need not wait any longer."""
        frames: list[Frame] = []
        if self._blocks and not self._begun:
            self._begun = True
            frames.append(self._message_start())
        while True:
            if self._started:
                last = self._blocks[self._started - 1]
                if not last.stopped:
                    if not last.closed and not last.cut:
                        break
                    frames += self._stop(last)
            if self._started == len(self._blocks):
                break
            frames += self._start(self._blocks[self._started])
            self._started += 1
        return frames

    def _start(self, block: _Block) -> list[Frame]:
        if block.opened.kind == "binary":
            return []  # it is told in one, once all of it is there
        frames = [self._block_start(block, empty_block(block.opened))]
        frames += self._deltas(block, "".join(block.words))
        self._go_on(block)
        return frames

    def _go_on(self, block: _Block) -> None:
        """From now on what a part says goes straight out."""
        opened = block.opened
        self._around[opened.part] = (*self._wrap(block), block.words if opened.kind == "tool_call" else None)
        if opened.kind != "tool_call":
            block.words = []

    def _stop(self, block: _Block) -> list[Frame]:
        block.stopped = True
        self._around.pop(block.opened.part, None)
        frames: list[Frame] = []
        if block.opened.kind == "binary":
            content = boxed_block(bytes(block.data))
            if content is None:
                return []
            frames.append(self._block_start(block, content))
            block.data.clear()
        elif not block.cut:
            frames += self._meta(block)
            block.words = []
        frames.append(_frame("content_block_stop", index=self._index))
        return frames

    def _meta(self, block: _Block) -> list[Frame]:
        """What a block says at its end."""
        kind = block.opened.kind
        deltas: list[Object] = [
            {"type": "citations_delta", "citation": citation} for citation in citations(kind, block.meta)
        ]
        if kind == "reasoning" and (signed := signature(block.meta)):
            deltas.append({"type": "signature_delta", "signature": signed})
        return [_frame(_DELTA, index=self._index, delta=delta) for delta in deltas]

    def _late(self) -> list[Frame]:
        """What parts said after their blocks had ended."""
        frames: list[Frame] = []
        for block in self._blocks:
            if not block.cut or block.opened.kind == "tool_call":
                continue
            text = "".join(block.late)
            if text or self._meta(block):
                frames.append(self._block_start(block, empty_block(block.opened)))
                frames += self._deltas(block, text)
                frames += self._meta(block)
                frames.append(_frame("content_block_stop", index=self._index))
        return frames

    def _finished(self, event: Finished) -> list[Frame]:
        frames = [] if self._begun else [self._message_start()]
        frames += self._late()
        frames.append(
            _frame("message_delta", delta=self._stopping.delta(event), usage=self._stopping.usage(self._usage))
        )
        frames.append(_frame("message_stop"))
        return frames

    def _message_start(self) -> Frame:
        return _frame("message_start", message=message(self._view, self._model, self._usage))

    def _block_start(self, block: _Block, content: Object) -> Frame:
        self._index += 1
        return _frame("content_block_start", index=self._index, content_block=content)

    def _deltas(self, block: _Block, text: str) -> list[Frame]:
        before, after = self._wrap(block)
        return [Frame(b"%b%b%b" % (before, orjson.dumps(piece), after), _DELTA) for piece in pieces(text)]

    def _wrap(self, block: _Block) -> tuple[bytes, bytes]:
        """What stands before and after a piece of text of the block that was begun last."""
        delta = _DELTAS[block.opened.kind]
        return b'{"type":"content_block_delta","index":%d,"delta":%b' % (self._index, delta), b"}}"


def _frame(event: str, **members: Json) -> Frame:
    """One event, whose type is its name on SSE too."""
    return Frame(msgspec.json.encode({"type": event, **members}), event)
