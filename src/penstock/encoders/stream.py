"""One reader's way from entries to wire: renderer ∘ encoder, with cursors stamped.

The last frame of an entry carries the plain offset, the ones before it `offset.k`. A frame the transport does not carry
is left out before the ids are given, and a sentinel has none, so that the end of a run has the same cursor everywhere
and a stream that ends in `[DONE]` ends in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic

from penstock.core.cursor import Entry
from penstock.core.events import TERMINAL, Terminal
from penstock.core.frame import Frame, Renderer, TransportEncoder, Wire_co


class Stream(Generic[Wire_co]):
    """Feed it every entry after the reader's cursor, in order; write what it returns, in order.

    `skip` is the number of frames of the first entry that the reader has already.
    """

    __slots__ = ("_accepts", "_encode", "_prefix", "_render", "_skip", "encoder", "renderer", "terminal")

    def __init__(self, renderer: Renderer, encoder: TransportEncoder[Wire_co], *, run: str, epoch: str, skip: int = 0):
        self.renderer = renderer
        self.encoder: TransportEncoder[Wire_co] = encoder
        self.terminal: Terminal | None = None
        """The terminal event, once it was fed."""
        self._render = renderer.render
        self._encode: Callable[[Frame, bytes], Wire_co] = encoder.frame
        self._accepts = encoder.accepts
        self._prefix = f"{run}:{epoch}:".encode()
        self._skip = skip

    def feed(self, entries: Sequence[Entry]) -> list[Wire_co]:
        """What to write for these entries; empty where the dialect has nothing to say of them."""
        out: list[Wire_co] = []
        prefix, render, encode = self._prefix, self._render, self._encode
        for entry in entries:
            frames = render(entry)
            if len(frames) == 1 and not self._skip and not frames[0].sentinel:
                out.append(encode(frames[0], b"%b%d" % (prefix, entry.last)))
            elif frames:
                self._several(entry, frames, out)
            else:
                self._skip = 0  # it counts the frames of the first entry, also where this dialect has none
        if entries and isinstance(last := entries[-1].event, TERMINAL):
            self.terminal = last
        return out

    def _several(self, entry: Entry, frames: Sequence[Frame], out: list[Wire_co]) -> None:
        numbered = [frame for frame in frames if not frame.sentinel and self._accepts(frame)]
        # A cursor `offset.k` says that the entry was not finished, so at least its last frame is owed, whatever dialect k was counted in.
        skip, self._skip = min(self._skip, len(numbered) - 1), 0
        for k, frame in enumerate(numbered[skip:], skip + 1):
            suffix = b"" if k == len(numbered) else b".%d" % k
            out.append(self._encode(frame, b"%b%d%b" % (self._prefix, entry.last, suffix)))
        out.extend(self._encode(frame, b"") for frame in frames if frame.sentinel and self._accepts(frame))

    def retell(self, frames: Sequence[Frame], through: int) -> list[Wire_co]:
        """Frames that are no entry's own (a gap, re-opened parts). Only the last is a place to resume from: `through`."""
        carried = [frame for frame in frames if self._accepts(frame)]
        return [
            self._encode(frame, b"%b%d" % (self._prefix, through) if k == len(carried) else b"")
            for k, frame in enumerate(carried, 1)
        ]
