"""The laws of a transport encoder: what it wrote can be read back, however it is cut, and reads as nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.core.cursor import Entry
from penstock.core.frame import Dialect, TransportEncoder, View
from penstock.encoders.chunked import TextEncoder
from penstock.encoders.stream import Stream
from penstock.testing.laws.dialects import Encoders, Recorder, Wire, same
from penstock.testing.strategies import EPOCH
from penstock.testing.wire import Received, SseParser

Parse = Callable[[Sequence[Wire]], list[Received]]


def check_envelope(
    dialect: Dialect, view: View, encoder: Encoders, entries: Sequence[Entry], parse: Parse, *, names: bool = False
) -> None:
    """Parsing what an encoder wrote gives the frames back, each with its cursor. `names`: the transport carries event names."""
    recorder = Recorder(encoder())
    Stream(dialect.renderer(view), recorder, run=view.run, epoch=EPOCH).feed(entries)
    wanted = [Received(r.value, r.cursor, r.event if names else "", r.part) for r in recorder.received()]
    same(parse(recorder.wires), wanted, "what was read back")


def check_sse_body(pieces: Sequence[bytes], *, event_source: bool = False) -> None:
    """No block without data, but the first one of an EventSource; ids are the last line of their block; all of it is complete."""
    body = b"".join(pieces)
    parser = SseParser()
    for piece in pieces:
        parser.feed(piece)
    same(parser.hollow, 1 if event_source else 0, "blocks without data")
    *blocks, rest = body.split(b"\n\n")
    same(rest.replace(b": ping\n", b""), b"", "what follows the last block")
    for block in blocks[1:] if event_source else blocks:
        lines = [line for line in block.split(b"\n") if not line.startswith(b":")]
        names = [line.partition(b":")[0] for line in lines]
        same(names.count(b"data"), 1, f"lines of data in {block!r}")
        if b"id" in names[:-1]:
            raise AssertionError(f"something follows the id in {block!r}")


def check_byte_resume(dialect: Dialect, view: View, entries: Sequence[Entry], *, after: Sequence[int]) -> None:
    """Bare text continues after any number of bytes, also within a character."""

    def body(skip: int) -> bytes:
        encoder: TransportEncoder[bytes] = TextEncoder(skip=skip)
        return b"".join(Stream(dialect.renderer(view), encoder, run=view.run, epoch=EPOCH).feed(entries))

    whole = body(0)
    for count in after:
        same(body(count % (len(whole) + 1)), whole[count % (len(whole) + 1) :], f"after {count} bytes")
