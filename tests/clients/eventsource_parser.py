"""The event stream interpretation of the WHATWG HTML standard (§9.2.6), written from its text: bytes in, events out.

It is the suite's oracle for everything written as SSE, so it shares no code with the program.
"""

from dataclasses import dataclass, field

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ServerEvent:
    """What a browser would dispatch: `id` is the last event id in force, `event` is `message` unless named."""

    id: str
    event: str
    data: str


@dataclass
class EventStreamParser:
    """Feed it the body in pieces of any size. What stands after the last blank line is never dispatched."""

    last_event_id: str = ""
    retry: int | None = None
    comments: list[str] = field(default_factory=list)
    blocks_without_data: int = 0
    _pending: bytes = b""
    _at_start: bool = True
    _after_cr: bool = False
    _data: list[str] = field(default_factory=list)
    _event: str = ""
    _id: str = ""
    _in_block: bool = False

    def __post_init__(self) -> None:
        self._id = self.last_event_id

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that this piece completes."""
        *lines, self._pending = (self._pending + self._normalized(piece)).split(b"\n")
        if self._at_start:
            if not lines and len(self._pending) < len(BOM):
                return []
            first, *others = (*lines, self._pending)
            *lines, self._pending = (first.removeprefix(BOM), *others)
            self._at_start = False
        events = []
        for line in lines:
            if line:
                self._field(line.decode("utf-8", errors="replace"))
            elif (event := self._dispatch()) is not None:
                events.append(event)
        return events

    def _normalized(self, piece: bytes) -> bytes:
        """The piece with LF for every line end; a CR ends its line at once, an LF right after it says nothing more."""
        if not piece:
            return piece
        rest = piece[1:] if self._after_cr and piece.startswith(b"\n") else piece
        self._after_cr = piece.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _field(self, line: str) -> None:
        self._in_block = True
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments.append(value)
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value)
            case _:
                pass  # the standard ignores fields it does not know

    def _dispatch(self) -> ServerEvent | None:
        self.last_event_id = self._id
        data, event = self._data, self._event or "message"
        started = self._in_block
        self._data, self._event, self._in_block = [], "", False
        if not data:
            self.blocks_without_data += started
            return None
        return ServerEvent(id=self.last_event_id, event=event, data="\n".join(data))


def parse_event_stream(body: bytes) -> list[ServerEvent]:
    """All events of a whole body."""
    return EventStreamParser().feed(body)
