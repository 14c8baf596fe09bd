"""The stored transcripts of `protocols/`: read, told again, and by hand written anew.

    python -m tests.contract.transcripts --write

writes `out/` of every situation from its `request.json` and `events.jsonl`. Read the difference before you commit it: it is the treaty.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.cursor import Cursor, Entry, parse_cursor
from penstock.core.events import Event
from penstock.core.frame import Gaps, TransportEncoder, View
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder
from penstock.encoders.coalesce import coalesce
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.encoders.websocket import WebSocketEncoder
from penstock.registry import names, resolve
from penstock.testing.laws.dialects import folded

PROTOCOLS = Path(__file__).parents[2] / "protocols"
SITUATIONS = sorted(path.parent for path in (PROTOCOLS / "transcripts").glob("*/request.json"))
OUTPUTS = [
    *(f"{dialect}.{encoder}" for dialect in names("dialects") for encoder in names("encoders") if encoder != "text"),
    "plain.text",
]
"""Bare text carries words alone, so only `plain` can be told on it."""


class Situation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`request.json`: what was asked, and how the reader came to the run."""

    says: str
    run: str
    epoch: str
    created: int
    request: dict[str, Any]
    after: str | int | None = None
    """The reader comes back with this offset."""
    joins_after: int | None = None
    """What came before, up to and including this offset, is no longer held entry by entry."""
    merged: bool = False
    """The reader takes everything at once, merged."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `events.jsonl`."""

    offset: int
    at: int
    event: dict[str, Any]

    def entry(self) -> Entry:
        event = dict(self.event)
        logprobs = event.pop("logprobs", None)
        value: Event = msgspec.convert(event, Event)
        if logprobs is not None:
            value = msgspec.structs.replace(value, logprobs=msgspec.Raw(msgspec.json.encode(logprobs)))
        return Entry(self.offset, self.offset, self.at, value)


def situation(folder: Path) -> Situation:
    """What a folder is about."""
    return msgspec.json.decode((folder / "request.json").read_bytes(), type=Situation)


def entries(folder: Path) -> list[Entry]:
    """What the run said."""
    lines = (folder / "events.jsonl").read_bytes().split(b"\n")
    return [msgspec.json.decode(line, type=Line).entry() for line in lines if line]


def told(folder: Path, output: str) -> bytes:
    """The bytes a reader of one dialect on one transport gets."""
    about, said = situation(folder), entries(folder)
    name, transport = output.split(".")
    dialect = resolve("dialects", name)()
    options = about.request.get("stream_options", {})
    view = View(
        run=about.run,
        model=about.request["model"],
        created=about.created,
        include_usage=bool(options.get("include_usage")),
        binary=transport == "websocket",
        bare=transport == "text",
    )
    cursor = Cursor(about.run, about.epoch, 0)
    if about.after is not None:
        cursor = parse_cursor(f"{about.run}:{about.epoch}:{about.after}")
    encoder: TransportEncoder[Any]
    if transport == "sse":
        encoder = SseEncoder()
    elif transport == "websocket":
        encoder = WebSocketEncoder(about.run, cursor_key=dialect.traits.cursor_key)
    elif transport == "ndjson":
        encoder = NdjsonEncoder(cursor_key=dialect.traits.cursor_key)
    else:
        # Bare text counts bytes: whoever has everything up to the cursor has so many.
        had = Stream(dialect.renderer(view), TextEncoder(), run=about.run, epoch=about.epoch)
        encoder = TextEncoder(skip=sum(map(len, had.feed(said[: cursor.whole]))))
        cursor = Cursor(about.run, about.epoch, 0)
    renderer = dialect.renderer(view)
    known = about.joins_after or cursor.whole
    renderer.prime(folded(said, known))
    stream = Stream(renderer, encoder, run=about.run, epoch=about.epoch, skip=cursor.frame)
    messages: list[Any] = [encoder.opening(None)]
    if about.joins_after is not None:
        gap = dialect.gap(1, known, "trimmed") if isinstance(dialect, Gaps) else ()
        messages += stream.retell([*gap, *renderer.rejoin()], known)
    rest = said[known:]
    messages += stream.feed(coalesce(rest) if about.merged else rest)
    if stream.terminal is not None:
        messages.append(encoder.ending(stream.terminal) or b"")
    return b"".join(map(_stored, messages)) if transport == "websocket" else b"".join(messages)


def _stored(message: str | bytes) -> bytes:
    """A WebSocket message on a line of its own; JSON has no line breaks, and bytes are told in base64."""
    if not message:
        return b""
    return (message.encode() if isinstance(message, str) else b"base64:" + base64.b64encode(message)) + b"\n"


def main(arguments: list[str]) -> int:
    """Write, or say what would change."""
    if arguments not in ([], ["--write"]):
        sys.stdout.write(f"{__doc__}\n")
        return 2
    changed = 0
    for folder in SITUATIONS:
        for output in OUTPUTS:
            path, data = folder / "out" / output, told(folder, output)
            if not path.exists() or path.read_bytes() != data:
                changed += 1
                sys.stdout.write(f"{'writes' if arguments else 'differs:'} {path.relative_to(PROTOCOLS)}\n")
                if arguments:
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(data)
    sys.stdout.write(f"{len(SITUATIONS)} situations, {changed} files {'written' if arguments else 'differ'}\n")
    return 0 if arguments or not changed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
