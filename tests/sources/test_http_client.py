"""Our HTTP client against servers on real sockets: connections made, kept, lost and left, on both event loops."""

import asyncio
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from penstock.sources.http_client import HttpClient, head_of
from penstock.sources.http_pool import Resolve, addresses_of
from penstock.sources.http_response import HttpResponse
from penstock.sources.upstream import BodyBroken, Disconnected, NotHTTP, Unreachable, check_headers
from tests.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = os.urandom(64) * 160_000
"""10 MB: more than the buffers of any loopback hold."""


class Visit:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.left = asyncio.Event()
        """The client has left, or we have."""

    async def head(self) -> int:
        """Read the head of a request; return the length of its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        return int(head.lower().rpartition(b"content-length: ")[2].split(b"\r\n")[0])

    async def request(self) -> bytes:
        body = await self.reader.readexactly(await self.head())
        self.bodies.append(body)
        return body

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def leave(self) -> None:
        self.writer.close()


Play = Callable[[Visit], Awaitable[None]]


class Server:
    """Plays each connection its part and remembers it."""

    def __init__(self, play: Play):
        self.visits: list[Visit] = []
        self.play = play
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        self.visits.append(visit)
        try:
            await self.play(visit)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client left
        finally:
            if not writer.is_closing():
                writer.transport.abort()
            try:
                await writer.wait_closed()
            except (ConnectionError, ssl.SSLError):
                pass  # it left without a word
            visit.left.set()


@asynccontextmanager
async def serving(
    play: Play,
    *,
    host: str = "127.0.0.1",
    name: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
    connect_seconds: float = 10.0,
    idle_seconds: float = 90.0,
    resolve: Resolve | None = None,
) -> AsyncGenerator[tuple[Server, HttpClient]]:
    """A server and a client of it. In the end no socket of the client's may be open."""
    server = Server(play)
    listener = await asyncio.start_server(server.accept, host, 0, ssl=tls, limit=1_000_000)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://{name}:{port}/v1/chat?a=b"
    client = HttpClient(
        server.url,
        {"X-Team": "blue"},
        ssl=trust,
        connect_seconds=connect_seconds,
        idle_seconds=idle_seconds,
        resolve=resolve,
    )
    try:
        yield server, client
    finally:
        await client.close()
        assert not client._pool._open
        assert not client._pool._idle
        listener.close()
        for visit in server.visits:
            await visit.left.wait()
        await listener.wait_closed()


async def politely(visit: Visit) -> None:
    """Answer every request."""
    while True:
        await visit.request()
        await visit.say(OK)


async def never(visit: Visit) -> None:
    """Hear the request, answer nothing."""
    await visit.request()


async def body_of(response: HttpResponse) -> bytes:
    whole = b""
    while more := await response.read():
        whole += more
    return whole


async def asked(client: HttpClient, body: bytes = b"{}") -> bytes:
    return await body_of(await client.post(body))


def unasked(_host: str, _port: int) -> Awaitable[list[str]]:
    raise AssertionError("an address needs no look-up")


# -- what is sent --------------------------------------------------------------------------------------------------------


async def test_a_request_is_one_head_and_its_body() -> None:
    async with serving(politely, resolve=unasked) as (server, client):
        assert await asked(client, b'{"n": 1}') == b"ok"
        (visit,) = server.visits
        port = server.url.split(":")[2].split("/")[0].encode()
        assert visit.heads == [
            b"POST /v1/chat?a=b HTTP/1.1\r\nHost: 127.0.0.1:" + port + b"\r\nX-Team: blue\r\nContent-Length: 8\r\n\r\n"
        ]
        assert visit.bodies == [b'{"n": 1}']


@pytest.mark.parametrize(
    ("url", "lines"),
    [
        ("http://API.test:80/v1", ["POST /v1 HTTP/1.1", "Host: api.test"]),
        ("https://api.test:443/v1", ["POST /v1 HTTP/1.1", "Host: api.test"]),
        ("https://api.test:8443/v1", ["POST /v1 HTTP/1.1", "Host: api.test:8443"]),
        ("http://[::1]:81/v1", ["POST /v1 HTTP/1.1", "Host: [::1]:81"]),
        ("http://bücher.test:81/ü b/?q=ä", ["POST /%C3%BC%20b/?q=%C3%A4 HTTP/1.1", "Host: xn--bcher-kva.test:81"]),
        (
            "http://a%40b:c%3Ad@api.test/v1",
            ["POST /v1 HTTP/1.1", "Host: api.test", "Authorization: Basic YUBiOmM6ZA=="],
        ),
    ],
)
def test_the_head_names_target_and_host_as_the_protocol_wants_them(url: str, lines: list[str]) -> None:
    assert head_of(url, {}).decode().split("\r\n") == [*lines, "Content-Length: "]


def test_a_header_given_stands_above_the_one_of_the_url() -> None:
    lines = (
        head_of("http://a:b@api.test/v1", {"authorization": "Bearer k", "HOST": "other.test"}).decode().split("\r\n")
    )
    assert lines[1:3] == ["HOST: other.test", "authorization: Bearer k"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Team", "a\r\nX-Evil: 1"),
        ("X-Team", "key\n"),
        ("X-Team", "\0"),
        ("X Team", "value"),
        ("", "value"),
        ("Content-Length", "17"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_a_header_that_would_break_the_request_is_refused_without_its_value(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header") as refused:
        check_headers({name: value})
    assert value not in str(refused.value)


async def test_tokens_are_not_held_back_by_the_kernel() -> None:
    async with serving(politely) as (_, client):
        await asked(client)
        (connection,) = client._pool._open
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_large_request_arrives_whole() -> None:
    async with serving(politely) as (server, client):
        assert await asked(client, LARGE) == b"ok"
        assert await asked(client, b"{}") == b"ok"
        assert [visit.bodies for visit in server.visits] == [[LARGE, b"{}"]]


async def test_a_large_request_that_is_refused_early_is_not_sent_to_its_end() -> None:
    taken = 0

    async def too_large(visit: Visit) -> None:
        nonlocal taken
        await visit.head()
        await visit.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        while more := await visit.reader.read(65_536):
            taken += len(more)

    async with serving(too_large) as (server, client):
        response = await client.post(LARGE)
        assert (response.status, await body_of(response)) == (413, b"no!")
        await server.visits[0].left.wait()
        assert taken < len(LARGE)
        server.play = politely
        assert await asked(client) == b"ok"
        assert len(server.visits) == 2


async def test_an_answer_that_begins_before_the_request_has_ended_is_read_and_the_request_goes_on() -> None:
    async def eager(visit: Visit) -> None:
        length = await visit.head()
        await visit.say(CHUNKED + b"1\r\na\r\n")
        visit.bodies.append(await visit.reader.readexactly(length))
        await visit.say(b"1\r\nb\r\n0\r\n\r\n")

    async with serving(eager) as (server, client):
        assert await asked(client, LARGE) == b"ab"
        assert server.visits[0].bodies == [LARGE]


# -- what is heard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"], ids=["100", "103"]
)
async def test_informational_answers_are_passed_over(noise: bytes) -> None:
    async def informed(visit: Visit) -> None:
        for _ in range(2):
            await visit.request()
            await visit.say(noise)
            await visit.say(noise + OK)

    async with serving(informed) as (server, client):
        assert [await asked(client), await asked(client)] == [b"ok", b"ok"]
        assert len(server.visits) == 1


async def test_an_answer_of_another_protocol_is_refused_at_once() -> None:
    async def switched(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")

    async with serving(switched) as (server, client):
        with pytest.raises(NotHTTP):
            await client.post(b"{}")
        await server.visits[0].left.wait()


async def test_a_body_ended_by_closing_is_whole() -> None:
    async def old(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        visit.leave()

    async with serving(old) as (_, client):
        assert await asked(client) == b"all of it"


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CHUNKED + b"4\r\nhalf\r\n", CHUNKED + b"9\r\nhalf"],
    ids=["length", "between-chunks", "in-a-chunk"],
)
async def test_a_body_cut_short_gives_what_came_and_then_breaks(begun: bytes) -> None:
    async def cutting(visit: Visit) -> None:
        await visit.request()
        await visit.say(begun)
        visit.leave()

    async with serving(cutting) as (server, client):
        response = await client.post(b"{}")
        await server.visits[0].left.wait()
        assert await response.read() == b"half"
        for _ in range(2):
            with pytest.raises(BodyBroken):
                await response.read()
        assert not response.ended


async def test_a_server_that_is_not_read_has_to_wait_and_then_goes_on() -> None:
    async def flooding(visit: Visit) -> None:
        await visit.request()
        visit.writer.transport.set_write_buffer_limits(high=0)
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        visit.writer.write(LARGE)

    async with serving(flooding) as (server, client):
        response = await client.post(b"{}")
        transport = server.visits[0].writer.transport
        held: list[int] = []

        def settled() -> bool:
            held.append(transport.get_write_buffer_size())
            return len(held) > 20 and held[-1] == held[-20] > 0

        await until("the server's unsent bytes stay the same", settled)
        assert response._unread < 1_000_000
        assert await body_of(response) == LARGE


async def test_a_flood_that_is_cut_is_read_to_where_it_was_cut() -> None:
    async def cut(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(LARGE) + 1))
        visit.writer.write(LARGE)
        visit.leave()

    async with serving(cut) as (_, client):
        response = await client.post(b"{}")
        whole = b""
        while len(whole) < len(LARGE):
            whole += await response.read()
        assert whole == LARGE
        with pytest.raises(BodyBroken):
            await response.read()


# -- connections that are kept -------------------------------------------------------------------------------------------


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with serving(politely) as (server, client):
        for number in range(5):
            assert await asked(client, b"%d" % number) == b"ok"
        assert [visit.bodies for visit in server.visits] == [[b"0", b"1", b"2", b"3", b"4"]]


async def test_requests_at_once_get_connections_of_their_own_and_the_latest_is_used_again() -> None:
    gates = {b"a": asyncio.Event(), b"b": asyncio.Event()}

    async def gated(visit: Visit) -> None:
        while True:
            await gates[await visit.request()].wait()
            await visit.say(OK)

    async with serving(gated) as (server, client):
        first, second = asyncio.ensure_future(asked(client, b"a")), asyncio.ensure_future(asked(client, b"b"))
        await until("both are asked", lambda: sum(len(visit.bodies) for visit in server.visits) == 2)
        for name, asking in ((b"b", second), (b"a", first)):
            gates[name].set()
            assert await asking == b"ok"
        assert await asked(client, b"b") == b"ok"
        assert sorted(visit.bodies for visit in server.visits) == [[b"a", b"b"], [b"b"]]


async def test_a_connection_the_server_closed_at_rest_is_not_tried() -> None:
    async def once(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        visit.leave()

    async with serving(once) as (server, client):
        for _ in range(2):
            assert await asked(client) == b"ok"
            await until("the client has noticed", lambda: not client._pool._open)
        assert [visit.bodies for visit in server.visits] == [[b"{}"], [b"{}"]]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_connection_lost_as_it_is_used_again_is_replaced_by_a_new_one_once(reset: bool) -> None:
    async def stale(visit: Visit) -> None:
        if len(server.visits) == 3:
            await politely(visit)
        await visit.request()
        if len(server.visits) == 1:
            await visit.say(OK)
            await visit.request()
        if reset:
            abortive = struct.pack("ii", 1, 0)
            visit.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abortive)
            visit.writer.transport.abort()
        else:
            visit.leave()

    async with serving(stale) as (server, client):
        assert await asked(client, b"1") == b"ok"
        with pytest.raises(Disconnected):
            await client.post(b"2")
        assert [visit.bodies for visit in server.visits] == [[b"1", b"2"], [b"2"]]
        assert await asked(client, b"3") == b"ok"


async def test_a_large_request_on_a_connection_lost_meanwhile_is_sent_again_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stale(visit: Visit) -> None:
        if len(server.visits) == 2:
            await politely(visit)
        await visit.request()
        await visit.say(OK)
        await visit.head()  # and not the body

    async def dropping(visit: Visit) -> None:
        try:
            await stale(visit)
        finally:
            visit.writer.transport.abort()

    async with serving(dropping) as (server, client):
        assert [await asked(client), await asked(client, LARGE)] == [b"ok", b"ok"]
        assert [visit.bodies for visit in server.visits] == [[b"{}"], [LARGE]]
    assert caplog.records == []


async def test_a_server_that_answers_half_and_reads_no_more_is_left() -> None:
    async def half(visit: Visit) -> None:
        await visit.head()
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await visit.say(CHUNKED + b"1\r\na\r\n")
        visit.writer.write_eof()
        await read.wait()
        visit.writer.transport.resume_reading()  # type: ignore[attr-defined]

    read = asyncio.Event()
    async with serving(half) as (server, client):
        response = await client.post(LARGE)
        assert await response.read() == b"a"
        with pytest.raises(BodyBroken):
            await response.read()
        await until("its connection is closed", lambda: not client._pool._open)
        read.set()
        await server.visits[0].left.wait()


async def test_an_answer_that_had_begun_is_not_asked_for_again() -> None:
    async def half(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        await visit.request()
        await visit.say(b"HTTP/1.1 20")
        visit.leave()

    async with serving(half) as (server, client):
        assert await asked(client) == b"ok"
        with pytest.raises(Unreachable, match="in the head of its answer"):
            await client.post(b"{}")
        assert len(server.visits) == 1


async def test_a_new_connection_that_is_lost_is_not_tried_again() -> None:
    async def rude(visit: Visit) -> None:
        await visit.request()
        visit.leave()

    async with serving(rude) as (server, client):
        with pytest.raises(Disconnected, match="closed the connection without an answer"):
            await client.post(b"{}")
        assert len(server.visits) == 1


async def test_a_connection_idle_for_too_long_is_closed_and_not_used() -> None:
    async with serving(politely, idle_seconds=0) as (server, client):
        for _ in range(2):
            assert await asked(client) == b"ok"
        await server.visits[0].left.wait()
        assert [len(visit.bodies) for visit in server.visits] == [1, 1]


@pytest.mark.parametrize("late", [False, True], ids=["with-the-body", "at-rest"])
async def test_bytes_nobody_asked_for_end_the_connection(late: bool) -> None:
    go = asyncio.Event()

    async def chatty(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK if late else OK + OK)
        await go.wait()
        await visit.say(OK)

    async with serving(chatty) as (server, client):
        assert await asked(client) == b"ok"
        go.set()
        await server.visits[0].left.wait()
        assert await asked(client) == b"ok"
        assert len(server.visits) == 2


async def test_a_server_that_says_close_is_believed() -> None:
    async def last(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    async with serving(last) as (server, client):
        assert await asked(client) == b"ok"
        await server.visits[0].left.wait()


# -- connections that are made -------------------------------------------------------------------------------------------


def answers_on(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.bind((host, 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", [host for host in ("127.0.0.1", "::1") if answers_on(host)])
async def test_an_address_of_either_kind_is_connected_to(host: str) -> None:
    async with serving(politely, host=host, name=f"[{host}]" if ":" in host else host, resolve=unasked) as (_, client):
        assert await asked(client) == b"ok"


async def test_a_name_is_looked_up_once_for_all_and_the_address_that_answers_is_remembered() -> None:
    looked_up: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        await asyncio.sleep(0)
        return ["::1", "127.0.0.1"]

    async with serving(never, name="api.test", resolve=resolve) as (server, client):
        asking = [asyncio.ensure_future(client.post(b"{}")) for _ in range(5)]
        await until("all are asked", lambda: sum(len(visit.bodies) for visit in server.visits) == 5)
        assert looked_up == ["api.test"]
        assert client._pool._addresses == ["127.0.0.1", "::1"]
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)


async def test_a_name_is_looked_up_again_when_none_of_its_addresses_answers() -> None:
    found = [["::1"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return found.pop(0)

    async with serving(politely, name="api.test", resolve=resolve) as (_, client):
        with pytest.raises(Unreachable):
            await client.post(b"{}")
        assert await asked(client) == b"ok"
    assert found == []


@pytest.mark.parametrize("problem", [socket.gaierror(socket.EAI_NONAME, "no"), UnicodeError("label too long"), None])
async def test_a_name_that_does_not_resolve_is_said_so(problem: Exception | None) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if problem is not None:
            raise problem
        return []

    async with serving(politely, name="api.test", resolve=resolve) as (_, client):
        with pytest.raises(Unreachable, match=r"^its name does not resolve$"):
            await client.post(b"{}")


async def test_the_system_knows_localhost() -> None:
    assert set(await addresses_of("localhost", 80)) <= {"127.0.0.1", "::1"}


async def test_a_refused_connection_is_said_so() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        client = HttpClient(f"http://127.0.0.1:{unheard.getsockname()[1]}/", {})
        with pytest.raises(Unreachable, match=r"^Connection refused$"):
            await client.post(b"{}")
        await client.close()


async def test_a_look_up_and_a_handshake_without_end_are_given_up(authority: trustme.CA) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with serving(never, name="api.test", resolve=resolve, connect_seconds=0.01) as (_, client):
        with pytest.raises(Unreachable, match=r"^no connection within 0\.01 s$"):
            await client.post(b"{}")
    async with serving(never) as (server, _):
        secret = HttpClient(server.url.replace("http:", "https:"), {}, ssl=trusting(authority), connect_seconds=0.05)
        with pytest.raises(Unreachable, match=r"^no connection within 0\.05 s$"):
            await secret.post(b"{}")
        await until("the server has seen the attempt", lambda: len(server.visits) == 1)
        await server.visits[0].left.wait()
        await secret.close()


# -- TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def identity(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name).configure_cert(context)
    return context


async def local(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_a_server_with_a_certificate_of_an_authority_named_by_the_environment_is_trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with serving(politely, name="localhost", tls=identity(authority), resolve=local) as (server, client):
        assert [await asked(client), await asked(client, LARGE)] == [b"ok", b"ok"]
        (visit,) = server.visits
        assert visit.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert visit.bodies == [b"{}", LARGE]


@pytest.mark.parametrize("name", ["localhost", "other.test"])
async def test_a_certificate_that_is_unknown_or_of_another_name_is_not_trusted(
    authority: trustme.CA, name: str
) -> None:
    trust = trusting(trustme.CA() if name == "localhost" else authority)
    async with serving(politely, name="localhost", tls=identity(authority, name), trust=trust, resolve=local) as (
        _,
        client,
    ):
        with pytest.raises(Unreachable, match=r"^its certificate is not trusted$"):
            await client.post(b"{}")


async def test_a_server_that_speaks_no_tls_is_said_so(authority: trustme.CA) -> None:
    async def plain(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 400 No TLS here\r\n\r\n")

    async with serving(plain) as (server, _):
        secret = HttpClient(server.url.replace("http:", "https:"), {}, ssl=trusting(authority))
        with pytest.raises(Unreachable, match="TLS"):
            await secret.post(b"{}")
        await secret.close()


async def test_leaving_a_stream_over_tls_is_seen_at_once(authority: trustme.CA) -> None:
    async def streaming(visit: Visit) -> None:
        await visit.request()
        await visit.say(CHUNKED + b"1\r\na\r\n")

    tls, trust = identity(authority), trusting(authority)
    async with serving(streaming, name="localhost", tls=tls, trust=trust, resolve=local) as (server, client):
        response = await client.post(b"{}")
        assert await response.read() == b"a"
        response.close()
        await server.visits[0].left.wait()


# -- leaving -------------------------------------------------------------------------------------------------------------


async def cancelled(waiting: "asyncio.Future[HttpResponse] | asyncio.Future[bytes]") -> bool:
    waiting.cancel()
    await asyncio.wait([waiting])
    return waiting.cancelled()


async def test_a_look_up_that_is_waited_for_can_be_cancelled_and_another_still_waits() -> None:
    found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        began.set()
        return await found

    async with serving(politely, name="api.test", resolve=resolve) as (_, client):
        leaving, staying = asyncio.ensure_future(client.post(b"{}")), asyncio.ensure_future(asked(client))
        await began.wait()
        assert await cancelled(leaving)
        found.set_result(["127.0.0.1"])
        assert await staying == b"ok"


async def test_a_handshake_can_be_cancelled(authority: trustme.CA) -> None:
    async with serving(never) as (server, _):
        secret = HttpClient(server.url.replace("http:", "https:"), {}, ssl=trusting(authority))
        asking = asyncio.ensure_future(secret.post(b"{}"))
        await until("the server is connected to", lambda: len(server.visits) == 1)
        assert await cancelled(asking)
        await server.visits[0].left.wait()
        await secret.close()


async def test_sending_can_be_cancelled() -> None:
    stopped = asyncio.Event()

    async def deaf(visit: Visit) -> None:
        await visit.head()
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stopped.wait()
        visit.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async with serving(deaf) as (server, client):
        asking = asyncio.ensure_future(client.post(LARGE))
        await until("the client has to wait", lambda: any(one._full for one in client._pool._open))
        assert await cancelled(asking)
        stopped.set()
        await server.visits[0].left.wait()


async def test_waiting_for_an_answer_can_be_cancelled() -> None:
    async with serving(never) as (server, client):
        asking = asyncio.ensure_future(client.post(b"{}"))
        await until("the server is asked", lambda: any(visit.bodies for visit in server.visits))
        assert await cancelled(asking)
        await server.visits[0].left.wait()


async def test_waiting_for_more_can_be_cancelled_and_gone_on_with() -> None:
    more = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await visit.request()
        await visit.say(CHUNKED)
        await more.wait()
        await visit.say(b"1\r\na\r\n")

    async with serving(slow) as (server, client):
        response = await client.post(b"{}")
        assert await cancelled(asyncio.ensure_future(response.read()))
        more.set()
        assert await response.read() == b"a"
        response.close()
        await server.visits[0].left.wait()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED], ids=["to-the-end", "chunked"])
async def test_closing_the_client_breaks_what_is_read_and_never_ends_it(head: bytes) -> None:
    async def slow(visit: Visit) -> None:
        await visit.request()
        await visit.say(head)

    async with serving(slow) as (server, client):
        response = await client.post(b"{}")
        reading = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(BodyBroken):
            await reading
        await server.visits[0].left.wait()


async def test_closing_the_client_ends_the_wait_for_an_answer() -> None:
    async with serving(never) as (server, client):
        asking = asyncio.ensure_future(client.post(b"{}"))
        await until("the server is asked", lambda: any(visit.bodies for visit in server.visits))
        await client.close()
        with pytest.raises(Unreachable):
            await asking
        with pytest.raises(Unreachable):
            await client.post(b"{}")


# -- what is imported ----------------------------------------------------------------------------------------------------

ASK = """
import asyncio, sys
{before}
from penstock.core.errors import Broken
from penstock.core.request import ChatRequest
from penstock.sources.openai_http import build
from penstock.testing.sources import SoloRun

BOTH = {{"aiohttp", "httptools"}}

async def main():
    source = build(base_url="http://127.0.0.1:1/v1", model="m")
    assert not any(sys.modules.get(name) for name in BOTH)
    try:
        async for event in source(ChatRequest(model="m", messages=()), SoloRun()):
            raise AssertionError(event)
    except Broken as problem:
        print(problem.fault.code)
    await source.close()
    print(*(name for name in BOTH if sys.modules.get(name)))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("before", "imported"),
    [("", "httptools"), ("sys.modules['httptools'] = None", "aiohttp")],
    ids=["usual", "without"],
)
def test_aiohttp_is_imported_only_where_there_is_no_httptools(before: str, imported: str) -> None:
    ran = subprocess.run([sys.executable, "-c", ASK.format(before=before)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["provider_unreachable", imported]
