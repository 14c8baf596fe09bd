"""The seams between an entry and the socket: dialects make frames, transport encoders make bytes. Neither ever waits.

The dance: `Dialect.parse` → run → `Dialect.renderer(view)` → `prime`/`rejoin` → `render(entry)` for each entry in order →
`TransportEncoder.frame(frame)` for each frame → socket. `penstock.encoders.stream.Stream` does the middle of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from penstock.core.cursor import Entry, answer_id
from penstock.core.events import Fault, Json, Terminal
from penstock.core.request import ChatRequest, Message
from penstock.core.snapshot import Snapshot

Wire_co = TypeVar("Wire_co", bytes, str | bytes, covariant=True)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message of a dialect, not yet framed for a transport.

    `data` is a JSON object on one line, unless `sentinel` or `binary` says otherwise, or the view was bare: then it is text.
    """

    data: bytes
    event: str = ""
    """The SSE event name; empty for none."""
    sentinel: bool = False
    """`data` is a bare word such as `[DONE]`, which only SSE carries. Always the last frame of its entry."""
    part: int = -1
    """For a binary frame: the part `data` belongs to; -1 otherwise."""


def one_line(data: bytes) -> bytes:
    """JSON that somebody else wrote, such as a provider's log probabilities, without line breaks: one would end the line of a frame."""
    return msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How one reader wants the run told."""

    run: str
    model: str = ""
    created: int = 0
    include_usage: bool = False
    """Token counts were asked for (`stream_options.include_usage`)."""
    sentinel: bool = True
    """A closing sentinel such as `[DONE]` may be sent; false for an EventSource, whose handler would try to parse it."""
    reasoning: bool = False
    """Show reasoning where the dialect hides it by default."""
    event_names: bool = False
    """Name native SSE events `penstock.<type>`."""
    binary: bool = False
    """The transport carries bytes, so chunks need no base64."""
    bare: bool = False
    """The transport carries text alone."""
    echo: bytes = b""
    """What the request said that an answer of its dialect repeats: `ChatRequest.echo`."""
    afresh: bool = False
    """The reader has lost what this answer adds to, where it goes on from something in its `echo`: that is told first."""

    def answer_id(self, prefix: str) -> str:
        """What a dialect calls this run, whose ids begin with `prefix`."""
        return answer_id(self.run, prefix)


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a server must know of a dialect beside its words."""

    cursor_key: str = "id"
    """The JSON member in which NDJSON and WebSocket frames carry the cursor: `cursor` where the dialect has an `id` of its own."""
    retells: bool = False
    """Its later frames quote what was said before, so a reader can come back only while all of that is held."""
    ping: Frame | None = None
    """What keeps an SSE connection alive instead of a comment, where the dialect has a word for it."""
    passes: tuple[str, ...] = ()
    """Request headers, in lower case, that belong to the question: they become `ChatRequest.headers`."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of every stream of this dialect over HTTP."""
    statuses: dict[str, int] = {}
    """By the code of an error: the HTTP status its clients know it by, where that is not the error table's."""
    request_id: bytes = b""
    """The header in which its clients look for the request's id, where that is not `x-request-id`."""
    answer_prefix: str = ""
    """What the ids of its answers begin with, in place of the `st_` of the run. Where it is set an answer can be asked for by
    that id, gone on from and deleted, and `whole` tells a run as it stands: begun, ended well or not."""
    sequence_key: str = ""
    """The JSON member in which its frames count themselves, from 0 and as if nothing were merged; a reader may come back with
    the number of the last frame it has."""
    chats: bool = False
    """Its requests name the chat they belong to. Under the path of a route, `/{chat}/stream` reads the chat's live run again,
    from its beginning, and stops it."""


class Renderer(Protocol):
    """A dialect's pen for one reader: fed every entry in order, it may remember. Pure."""

    def prime(self, so_far: Snapshot) -> None:
        """Learn the past and say nothing. Call at most once, before anything is rendered."""

    def rejoin(self) -> Sequence[Frame]:
        """Say again all that was primed, for a reader that has nothing: what was said, part by part. Call after `prime`."""

    def reopen(self) -> Sequence[Frame]:
        """Open again, without its words, what is still open: for a strict client whose parser is new and whose words are not.
        What follows is then a legal stream of the dialect. Call after `prime`."""

    def render(self, entry: Entry) -> Sequence[Frame]:
        """The frames of one entry: one for a delta (or none), any number for the others."""


class Dialect(Protocol):
    """A payload vocabulary: bytes to `ChatRequest`, entries to frames."""

    name: str
    traits: Traits

    def parse(self, body: bytes) -> ChatRequest:
        """Read a request body. Raises `Refused`, and nothing else, for any bytes."""

    def renderer(self, view: View) -> Renderer: ...

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        """The answer to `stream: false`, as one JSON object, of a run that ended well; with an `answer_prefix`, of any run."""

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        """The body of an error response. Its status is the error table's, or one of `Traits.statuses`."""


@runtime_checkable
class Gaps(Protocol):
    """What a dialect may have beside: words for a hole in what is held. The others answer 410 to whoever would fall into it."""

    def gap(self, start: int, end: int, reason: str) -> Sequence[Frame]:
        """Say that offsets `start` to `end` cannot be given; `reason` is `trimmed` or `epoch`."""


@runtime_checkable
class Recalls(Protocol):
    """What a dialect may have beside: it can say again what was asked."""

    def asked(self, messages: Sequence[Message], answer: str) -> list[Json]:
        """The messages of a question as its API lists them; each is an object with an `id`. `answer` is the answer's id."""


class TransportEncoder(Protocol, Generic[Wire_co]):
    """Turns frames into what one transport writes. May remember what it has written, never what was said."""

    def opening(self, cursor: str | None) -> bytes:
        """What stands before the first frame; with a cursor, mark that position for a reader that has none."""

    def frame(self, frame: Frame, cursor: bytes) -> Wire_co:
        """One frame, ready to be written; `cursor` is empty for a frame that is not a place to resume from."""

    def accepts(self, frame: Frame) -> bool:
        """Whether this transport carries the frame at all."""

    def heartbeat(self) -> bytes:
        """What keeps an idle connection alive; empty where the transport has nothing harmless to say."""

    def ending(self, terminal: Terminal) -> bytes | None:
        """What stands after the last frame; None: cut the line, so that nobody takes this for a complete answer."""
