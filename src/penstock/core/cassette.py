"""A run on a shelf: its native events with their timing, one JSON object a line, secrets blackened.

The first line says what it is: `{"cassette": 1, "model": …, "created": …}`. Each of the others is one event:
`{"at": milliseconds since the run began, "event": {…}}`. A secret is looked for in the text of a part as a whole, since it may
come in many pieces; every character of it becomes a `█`, so that the pieces stay as they are.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Any

import msgspec

from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Failed, Json, Note, Opened, ToolReturned
from penstock.core.frame import one_line

VERSION = 1
BLACK = "█"
SECRET = re.compile(
    r"""(?x)
    \b(?:sk|pk|rk|psk|gsk|xai|hf|r8)[-_][A-Za-z0-9_-]{16,}      # keys of providers, and of this server
  | \b(?:gh[pousr]|github_pat|glpat|npm|pypi)[-_][A-Za-z0-9_-]{16,}
  | \bxox[abeoprs]-[A-Za-z0-9-]{10,}                           # Slack
  | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                              # Amazon
  | \bAIza[A-Za-z0-9_-]{35}                                    # Google
  | (?<![A-Za-z0-9_-])[A-Za-z0-9_-]{0,32}?\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+  # a JSON Web Token
  | (?i:(?<=bearer\s))[A-Za-z0-9._~+/-]{16,}=*
  | (?<=://)[^/\s:@]+:[^/\s:@]+(?=@)                           # a password in a URL
  | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.DOTALL,
)
"""What looks like a key, wherever it stands. Read once: no alternative may begin anywhere in a word that another one is still reading."""


class Line(msgspec.Struct, frozen=True):
    """One event and when it was said, in milliseconds since the run began."""

    at: int
    event: Event


class Cassette(msgspec.Struct, frozen=True):
    """A recorded run."""

    model: str
    created: int
    lines: tuple[Line, ...]


LONGEST = 30 * 24 * 3600 * 1000
"""Milliseconds that a run takes at most."""


class _Row(msgspec.Struct, frozen=True):
    at: Annotated[float, msgspec.Meta(ge=0, le=LONGEST)]
    event: dict[str, Any]


class _Header(msgspec.Struct, frozen=True):
    cassette: int
    model: str
    created: int


_encode = msgspec.json.Encoder().encode


def record(entries: Iterable[Entry], *, model: str, created: int) -> Iterator[bytes]:
    """The lines of a cassette of these entries, which are unmerged and from the beginning."""
    yield _encode(_Header(VERSION, model, created)) + b"\n"
    for entry in scrubbed(list(entries)):
        data = b'{"at":%d,"event":%b}' % (entry.at, _encode(entry.event))
        yield one_line(data) + b"\n"


def load(data: bytes) -> Cassette:
    """Raises `ValueError`, with the number of the line, for what is no cassette."""
    first, _, rest = data.partition(b"\n")
    try:
        header = msgspec.json.decode(first, type=_Header)
    except msgspec.DecodeError:
        raise ValueError('line 1: this is no cassette; the first line says so, as in {"cassette":1,…}') from None
    if header.cassette != VERSION:
        raise ValueError(f"line 1: a cassette of version {header.cassette}; this is read up to {VERSION}")
    lines = []
    for number, line in enumerate(rest.split(b"\n"), start=2):
        if not line.strip():
            continue
        try:
            lines.append(_line(line))
        except (ValueError, RecursionError) as wrong:
            raise ValueError(f"line {number}: {wrong}") from None
    return Cassette(header.model, header.created, tuple(lines))


def _line(line: bytes) -> Line:
    row = msgspec.json.decode(line, type=_Row)
    event = dict(row.event)
    logprobs = event.pop("logprobs", None)
    read: Event = msgspec.convert(event, Event)
    if logprobs is not None:
        read = msgspec.structs.replace(read, logprobs=msgspec.Raw(_encode(logprobs)))
    return Line(int(row.at), read)


def scrubbed(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries with everything that looks like a secret blackened."""
    clean = list(entries)
    parts: dict[int, list[int]] = {}
    for place, entry in enumerate(entries):
        match entry.event:
            case Delta(part=part):
                parts.setdefault(part, []).append(place)
            case Note(body=body) | ToolReturned(body=body):
                clean[place] = msgspec.structs.replace(
                    entry, event=msgspec.structs.replace(entry.event, body=_clean(body))
                )
            case Opened(meta=dict() as meta) | Closed(meta=dict() as meta):
                clean[place] = msgspec.structs.replace(
                    entry, event=msgspec.structs.replace(entry.event, meta=_clean(meta))
                )
            case Failed(error=error):
                told = msgspec.structs.replace(error, message=_dark(error.message))
                clean[place] = msgspec.structs.replace(entry, event=msgspec.structs.replace(entry.event, error=told))
            case Chunk(part=part, data=data):
                clean[place] = msgspec.structs.replace(entry, event=Chunk(part, _dark_bytes(data)))
            case _:
                pass
    for places in parts.values():
        texts = [event.text for place in places if isinstance(event := entries[place].event, Delta)]
        joined = "".join(texts)
        dark = SECRET.sub(_blacken, joined)
        if dark == joined:
            continue
        starts = [0, *accumulate(map(len, texts))]
        for match in SECRET.finditer(joined):
            for number in range(bisect_right(starts, match.start()) - 1, bisect_right(starts, match.end() - 1)):
                piece = dark[starts[number] : starts[number + 1]]
                # Log probabilities spell the token out.
                event = msgspec.structs.replace(entries[places[number]].event, text=piece, logprobs=None)
                clean[places[number]] = msgspec.structs.replace(entries[places[number]], event=event)
    return clean


def _clean(value: Json) -> Json:
    if isinstance(value, str):
        return SECRET.sub(_blacken, value)
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    if isinstance(value, dict):
        return {_dark(name): _clean(inner) for name, inner in value.items()}
    return value


def _dark(text: str) -> str:
    return SECRET.sub(_blacken, text)


def _dark_bytes(data: bytes) -> bytes:
    """What a provider said in its own JSON is text too; what is none stays as it is."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    return _dark(text).encode()


def _blacken(match: re.Match[str]) -> str:
    return BLACK * len(match[0])
