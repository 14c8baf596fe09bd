"""One answer fed by hand: every framing, split anywhere, and what is no answer at all."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sources.http_response import FRAMING, UNREAD, HttpResponse
from penstock.sources.upstream import BodyBroken, Disconnected, NotHTTP, Unreachable

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Type: text/html\r\n\r\n"


@dataclass
class Line:
    """The connection, as the answer sees it: notes what it is told."""

    told: list[str] = field(default_factory=list)

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def finished(self, *, reusable: bool) -> None:
        self.told.append("reusable" if reusable else "finished")

    def abort(self) -> None:
        self.told.append("abort")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def answered(loop: asyncio.AbstractEventLoop, *pieces: bytes, eof: bool = False) -> tuple[HttpResponse, Line]:
    line = Line()
    response = HttpResponse(line, loop)
    for piece in pieces:
        response.feed(piece)
    if eof:
        response.eof()
    return response, line


def read(response: HttpResponse) -> bytes | None:
    """What a read gives at once; None where it would wait."""
    reading = response.read()
    try:
        reading.send(None)
    except StopIteration as done:
        return bytes(done.value)
    reading.close()
    return None


def read_all(response: HttpResponse) -> bytes:
    return b"".join(iter(lambda: read(response) or b"", b""))


def chunked(pieces: Iterable[bytes], *, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n" + trailer + b"\r\n"


@dataclass(frozen=True)
class Framed:
    """An answer as the wire has it, and what is to be made of it."""

    wire: bytes
    body: bytes
    eof: bool
    reusable: bool


@st.composite
def framed(draw: st.DrawFn) -> Framed:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    body = b"".join(pieces)
    noise = b"".join(draw(st.lists(st.sampled_from([CONTINUE, HINTS]), max_size=2)))
    kind = draw(st.sampled_from(["chunked", "trailed", "extended", "length", "close", "1.0", "closing"]))
    match kind:
        case "chunked" | "trailed" | "extended":
            wire = chunked(pieces, trailer=b"X-Late: 1\r\nContent-Type: text/html\r\n" if kind == "trailed" else b"")
            if kind == "extended":
                wire = wire.replace(b"0\r\n", b"0;why=not\r\n") if wire == b"0\r\n\r\n" else wire
            return Framed(noise + OK + b"Transfer-Encoding: chunked\r\n\r\n" + wire, body, eof=False, reusable=True)
        case "length":
            return Framed(noise + OK + b"content-length: %d\r\n\r\n" % len(body) + body, body, eof=False, reusable=True)
        case "closing":
            head = noise + OK + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            return Framed(head + body, body, eof=False, reusable=False)
        case "1.0":
            head = OK.replace(b"HTTP/1.1", b"HTTP/1.0")
            return Framed(head + b"\r\n" + body, body, eof=True, reusable=False)
        case _:
            return Framed(noise + OK + b"\r\n" + body, body, eof=True, reusable=False)


def split(wire: bytes, cuts: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted({cut % (len(wire) + 1) for cut in cuts}), len(wire)]
    return [wire[start:end] for start, end in pairwise(marks) if end > start]


@given(answer=framed(), cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_an_answer_is_the_same_wherever_the_network_cut_it(
    loop: asyncio.AbstractEventLoop, answer: Framed, cuts: list[int]
) -> None:
    response, line = answered(loop, *split(answer.wire, cuts), eof=answer.eof)
    assert (response.headed, response.status, response.problem) == (True, 200, None)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert read_all(response) == answer.body
    assert response.ended
    assert line.told == ["reusable" if answer.reusable else "finished"]


@given(answer=framed())
def test_an_answer_in_single_bytes_is_the_same(loop: asyncio.AbstractEventLoop, answer: Framed) -> None:
    response, line = answered(loop, *(bytes((byte,)) for byte in answer.wire), eof=answer.eof)
    assert read_all(response) == answer.body
    assert (response.ended, line.told) == (True, ["reusable" if answer.reusable else "finished"])


@given(answer=framed(), cut=st.integers(0, 10_000))
def test_an_answer_cut_off_is_never_whole(loop: asyncio.AbstractEventLoop, answer: Framed, cut: int) -> None:
    cut %= len(answer.wire)
    response, line = answered(loop, *split(answer.wire[:cut], []), eof=True)
    if not response.headed:
        assert isinstance(response.problem, Unreachable)
        assert isinstance(response.problem, Disconnected) is (cut == 0)
    elif answer.eof:
        assert response.ended is (not response._pieces)  # its end is the connection's: nobody can tell
    else:
        with pytest.raises(BodyBroken):
            read_all(response)
        assert "reusable" not in line.told


@given(
    answer=framed().filter(lambda answer: not answer.eof),
    garbage=st.binary(min_size=1, max_size=40).filter(lambda data: data.strip(b"\r\n") != b""),
)
def test_what_follows_a_body_changes_nothing_and_ends_the_connection(
    loop: asyncio.AbstractEventLoop, answer: Framed, garbage: bytes
) -> None:
    response, line = answered(loop, answer.wire + garbage)
    assert read_all(response) == answer.body
    assert (response.ended, line.told) == (True, ["finished"])


def test_a_second_answer_nobody_asked_for_is_not_read(loop: asyncio.AbstractEventLoop) -> None:
    wire = OK + b"Content-Length: 2\r\n\r\nhi"
    response, line = answered(loop, wire + wire.replace(b"200 OK", b"500 No").replace(b"hi", b"no"))
    assert (response.status, read_all(response), line.told) == (200, b"hi", ["finished"])


@given(noise=st.binary(max_size=200), headed=st.booleans(), chunks=st.booleans())
def test_any_bytes_are_an_answer_or_a_known_error(
    loop: asyncio.AbstractEventLoop, noise: bytes, headed: bool, chunks: bool
) -> None:
    head = OK + (b"Transfer-Encoding: chunked\r\n" if chunks else b"") + b"\r\n" if headed else b""
    response, _ = answered(loop, head, noise, eof=True)
    try:
        read_all(response)
    except (NotHTTP, BodyBroken, Unreachable):
        assert not response.ended
    else:
        assert response.ended


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/7.3 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
        OK + b"Content-Length: many\r\n\r\n",
        OK + b"X: " + b"x" * FRAMING + b"\r\n\r\n",
        b"".join((OK, *(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(70)), b"\r\n")),
        CONTINUE * (FRAMING // len(CONTINUE) + 1),
    ],
    ids=["ssh", "tls", "7.3", "101", "bare-101", "both", "twice", "length", "line", "head", "endless-1xx"],
)
@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_what_is_no_answer_is_refused_and_hung_up_on(loop: asyncio.AbstractEventLoop, wire: bytes, size: int) -> None:
    response, line = answered(loop, *(wire[start : start + size] for start in range(0, len(wire), size)))
    assert (type(response.problem), line.told) == (NotHTTP, ["abort"])


@pytest.mark.parametrize(
    "wire", [b"zz\r\n", b"-1\r\n", b"5\r\nhellox", b"fffffffffffffffff\r\n"], ids=["word", "minus", "long", "huge"]
)
def test_a_broken_chunk_is_said_at_once_after_what_came_before_it(loop: asyncio.AbstractEventLoop, wire: bytes) -> None:
    response, line = answered(loop, OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n" + wire)
    assert line.told == ["abort"]
    said = read(response)
    assert said is not None
    assert said.startswith(b"yes")
    with pytest.raises(BodyBroken):
        read(response)


@pytest.mark.parametrize("start", [b"5;", b"0\r\nX-Late: ", b"0\r\n"], ids=["extension", "trailer", "trailers"])
def test_framing_without_end_is_not_collected(loop: asyncio.AbstractEventLoop, start: bytes) -> None:
    response, line = answered(loop, OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n!\r\n" + start)
    more = b"X-Later: %b\r\n" % (b"x" * 1000) if start == b"0\r\n" else b"x" * 1000
    fed = 0
    while response.problem is None:
        response.feed(more)
        fed += len(more)
        assert fed < 2 * FRAMING
    assert line.told == ["abort"]
    assert read(response) == b"!"


def test_a_server_that_is_not_read_is_told_to_wait_and_then_to_go_on(loop: asyncio.AbstractEventLoop) -> None:
    response, line = answered(loop, OK + b"Content-Length: 1000000\r\n\r\n", b"x" * UNREAD)
    assert line.told == []
    response.feed(b"yz")
    response.feed(b"!")
    assert line.told == ["pause"]
    assert read(response) == b"x" * UNREAD + b"yz!"
    assert line.told == ["pause", "resume"]
    assert read(response) is None


def test_a_body_that_ends_while_the_server_waits_leaves_a_connection_that_reads(
    loop: asyncio.AbstractEventLoop,
) -> None:
    response, line = answered(loop, OK + b"Content-Length: %d\r\n\r\n" % (2 * UNREAD), b"x" * (2 * UNREAD - 1), b"y")
    assert line.told == ["pause", "resume", "reusable"]
    assert not response.ended
    assert len(read_all(response)) == 2 * UNREAD


def test_closing_between_two_pieces_hangs_up_and_forgets_them(loop: asyncio.AbstractEventLoop) -> None:
    response, line = answered(loop, OK + b"Content-Length: 4\r\n\r\nab")
    response.close()
    assert line.told == ["abort"]
    assert response._pieces == []


def test_closing_after_the_end_leaves_the_connection_alone(loop: asyncio.AbstractEventLoop) -> None:
    response, line = answered(loop, OK + b"Content-Length: 2\r\n\r\nab")
    response.close()
    assert line.told == ["reusable"]


def test_only_the_headers_that_are_used_are_kept_and_the_first_of_each(loop: asyncio.AbstractEventLoop) -> None:
    fields = b"RETRY-AFTER: 7\r\nretry-after: 9\r\nRetry-After-Ms: 70\r\nContent-Encoding: gzip\r\nSet-Cookie: a=b\r\n"
    response, _ = answered(loop, OK + fields + b"Content-Length: 0\r\n\r\n")
    expected: dict[str, Any] = {
        "content-type": "text/event-stream; charset=utf-8",
        "retry-after": "7",
        "retry-after-ms": "70",
        "content-encoding": "gzip",
        "content-length": "0",
    }
    assert response.headers == expected


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_cannot_have_a_body_has_ended(loop: asyncio.AbstractEventLoop, status: int) -> None:
    response, line = answered(loop, b"HTTP/1.1 %d Nothing\r\n\r\n" % status)
    assert (response.status, response.ended, line.told) == (status, True, ["reusable"])


def test_lines_that_end_in_lf_alone_are_read_as_aiohttp_reads_them(loop: asyncio.AbstractEventLoop) -> None:
    response, _ = answered(loop, OK.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\nab")
    assert (response.status, read_all(response)) == (200, b"ab")
