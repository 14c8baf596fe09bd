"""What every parser of a provider's body does, whatever the provider speaks."""

from penstock.core.events import Event, Finished, Note
from penstock.sources.ending import Ending
from penstock.sources.line_splitter import LineSplitter
from penstock.sources.parser import Parser
from penstock.sources.sse_splitter import SseSplitter


class Echo(Ending):
    """Says each payload in a note; `end` is the end, and `from` a place to go on from."""

    def read(self, payload: bytes, events: list[Event]) -> None:
        if payload == b"end":
            self.ended = True
            events.append(Finished())
        else:
            events.append(Note("said", payload.decode()))

    def resume(self) -> str:
        return "?from=1"


def said(events: list[Event]) -> list[object]:
    return [event.body if isinstance(event, Note) else event for event in events]


def test_what_follows_the_end_of_an_answer_is_not_read() -> None:
    parser = Parser(Echo("host"), LineSplitter)
    assert said(parser.feed(b"a\nend\nb\n")) == ["a", Finished()]
    assert parser.feed(b"c\n") == []


def test_a_body_that_ends_too_early_is_truncated() -> None:
    parser = Parser(Echo("host"), SseSplitter)
    assert said(parser.feed(b"data: a\n\ndata: b")) == ["a"]
    assert parser.end() == []
    assert parser.answer.broken is not None
    assert parser.answer.broken.fault.code == "provider_truncated"


def test_half_an_event_is_forgotten_where_the_body_goes_on() -> None:
    parser = Parser(Echo("host"), SseSplitter)
    parser.feed(b"data: ha")
    assert parser.resume() == "?from=1"
    assert said(parser.feed(b"data: half\n\n")) == ["half"]


def test_what_grows_without_end_is_named_as_the_protocol_has_it() -> None:
    for splitter, what in ((SseSplitter, "a line or an event"), (LineSplitter, "a line")):
        parser = Parser(Echo("host"), splitter)
        limit = splitter().limit
        assert parser.feed(b"x" * (limit + 1)) == []
        assert parser.answer.broken is not None
        assert parser.answer.broken.fault.message == f"host sent {what} longer than {limit} bytes"
