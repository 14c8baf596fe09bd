"""The connections of our HTTP client: kept, lost and made anew, with and without TLS, on both event loops."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest
import trustme

from penstock.sources.http_client import HttpClient
from penstock.sources.http_connection import Connection
from penstock.sources.http_pool import addresses_of
from penstock.sources.upstream import BodyBroken, Disconnected, Unreachable
from tests.sources.http_server import (
    CHUNKED,
    LARGE,
    OK,
    Visit,
    asked,
    identity,
    local,
    never,
    politely,
    serving,
    trusting,
    unasked,
)
from tests.waiting import until

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


async def test_a_connection_whose_socket_takes_no_options_is_known_to_its_owner_all_the_same() -> None:
    class Gone(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return self

        def setsockopt(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    async with serving(politely) as (_, client):
        connection = Connection(client._pool)
        connection.connection_made(Gone())
        assert connection in client._pool._open
        client._pool.lost(connection)
