"""TLS served directly: what it takes for a certificate, how a new one comes, and that every transport is what it is without."""

import asyncio
import json
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from websockets.asyncio.client import connect

from penstock.server.tls import BadCertificate, read_certificate
from tests.cli import serving as process
from tests.server.reading import PROMPT, Messages, event_stream
from tests.serving import Served, serving
from tests.waiting import CEILING, until

AUTHORITY = trustme.CA()


def written(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A certificate for `name` and its key, as files."""
    issued = AUTHORITY.issue_cert(name, "127.0.0.1")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def secured(folder: Path, **options: Any) -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    async with (
        serving(tls=read_certificate(*written(folder)), **options) as served,
        httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{served.port}", verify=client_context(), trust_env=False, timeout=CEILING
        ) as client,
    ):
        yield served, client


async def speak(served: Served, number: int, *texts: str) -> None:
    telling = await served.telling(number)
    telling.speak(*texts)
    telling.finish()


async def test_every_transport_is_served_over_tls(tmp_path: Path) -> None:
    async with secured(tmp_path) as (served, client):
        async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
            await speak(served, 0, "Hel", "lo")
            events = [json.loads(event.data)["type"] for event in await stream.rest()]
            assert (events[0], events[-1]) == ("started", "finished")
        chunked = asyncio.ensure_future(client.post("/v1/chat/chunked", json=PROMPT))
        await speak(served, 1, "Hel", "lo")
        assert (await chunked).text == "Hello"
        url = f"wss://127.0.0.1:{served.port}/v1/chat/ws"
        async with connect(url, proxy=None, ping_interval=None, ssl=client_context()) as connection:
            messages = Messages(connection)
            await messages.start()
            await speak(served, 2, "Hello")
            assert (await messages.until("finished"))[-1]["type"] == "finished"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_failure_of_bare_text_is_no_whole_answer_over_tls(tmp_path: Path, version: str) -> None:
    async with secured(tmp_path) as (served, _):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(request(version))
        telling = await served.telling()
        telling.speak("Hello")
        assert b"200 OK" in await reader.readuntil(b"Hello")
        telling.fail()
        try:
            rest = await reader.read()
        except ConnectionError:
            rest = b"reset"
        # Without chunks only a reset says that the answer is not whole: the goodbye of TLS would say the opposite.
        assert rest == (b"\r\n" if version == "1.1" else b"reset")
        writer.transport.abort()


def request(version: str) -> bytes:
    """What begins a run of bare text."""
    body = json.dumps(PROMPT).encode()
    head = f"POST /v1/chat/chunked HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_a_reader_that_stops_is_bounded_over_tls_too(tmp_path: Path) -> None:
    async with secured(tmp_path) as (served, _):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.port))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=client_context(), server_hostname="localhost", limit=4096
        )
        writer.write(request("1.1"))
        telling = await served.telling()
        telling.flood("x" * 1000, 20_000)
        await served.stuck(served.only)
        (connection,) = served.host.server_state.connections
        assert connection.transport.get_write_buffer_size() <= 256 * 1024
        assert telling.yielded < 1000
        writer.transport.abort()
        del reader


async def test_a_new_certificate_is_for_new_connections_and_cuts_nobody(tmp_path: Path) -> None:
    async with (
        secured(tmp_path) as (served, client),
        event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream,
    ):
        telling = await served.telling()
        telling.begin()
        await stream.next()
        assert "old" not in await named(served)
        served.host.renew(read_certificate(*written(tmp_path, "new.example")))  # type: ignore[attr-defined]
        assert "new.example" in await named(served)
        telling.speak("still here")
        telling.finish()
        assert "still here" in stream.raw.decode() + "".join(event.data for event in await stream.rest())


async def named(served: Served) -> Sequence[str]:
    """Whom a new connection's certificate is for."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=client_context(), server_hostname="127.0.0.1"
    )
    certificate: Any = writer.get_extra_info("peercert")
    writer.transport.abort()
    return [value for _, value in certificate["subjectAltName"]]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_is_the_oldest_with_forward_secrecy(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with secured(tmp_path) as (served, _):
        context = client_context()
        context.maximum_version = context.minimum_version = version
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context, server_hostname="localhost")
        name, spoken, bits = writer.get_extra_info("cipher")
        assert (bool(re.match("ECDHE-|TLS_", name)), spoken, bits >= 128) == (
            True,
            version.name.replace("_", "."),
            True,
        )
        writer.transport.abort()


@pytest.mark.parametrize("said", [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff"])
async def test_what_is_no_handshake_ends_there(tmp_path: Path, said: bytes) -> None:
    async with secured(tmp_path) as (served, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(said)
        if said.startswith(b"\x16"):
            writer.close()
        await reader.read()
        writer.transport.abort()
        await until("it was counted", lambda: served.seen.turned_away == ["tls"])
        assert (await client.get("/healthz")).status_code == 200


def test_files_that_are_no_certificate_with_its_key_are_named(tmp_path: Path) -> None:
    certificate, key = written(tmp_path)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    (tmp_path / "more").mkdir()
    _, another = written(tmp_path / "more")
    locked = tmp_path / "locked.pem"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    for files, words in (
        ((tmp_path / "none.pem", key), "none.pem cannot be read: No such file"),
        ((certificate, tmp_path), "cannot be read: Is a directory"),
        ((nothing, key), "nothing.pem holds no certificate in PEM form"),
        ((certificate, nothing), "nothing.pem holds no key in PEM form"),
        ((key, certificate), "key.pem holds no certificate"),
        ((certificate, another), "does not belong to the certificate"),
        ((certificate, locked), "wants a passphrase"),
    ):
        with pytest.raises(BadCertificate, match=re.escape(words)):
            read_certificate(*files)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(BadCertificate, match="cannot be used for TLS"):
        read_certificate(broken, key)


async def test_serve_speaks_tls_with_the_files_it_is_given_and_reads_them_again_on_sighup(tmp_path: Path) -> None:
    written(tmp_path)
    config = '[server]\ntls_certificate = "cert.pem"\ntls_key = "key.pem"\n'
    with process.starting(tmp_path, config=config) as served:
        await served.ready()
        assert served.url.startswith("https://127.0.0.1:")
        async with httpx2.AsyncClient(verify=client_context(), trust_env=False) as client:
            assert (await client.get(served.url + "/healthz")).status_code == 200
        written(tmp_path, "new.example")
        served.process.send_signal(signal.SIGHUP)
        await served.logged("configuration reloaded")
        assert "new.example" in await named(served)  # type: ignore[arg-type]
        (tmp_path / "key.pem").write_text("nothing")
        served.process.send_signal(signal.SIGHUP)
        told = await served.logged("configuration not reloaded; the old one stays in force")
        assert "holds no key in PEM form" in told["reason"]
        assert "new.example" in await named(served)  # type: ignore[arg-type]


def test_check_looks_at_the_certificate_too(tmp_path: Path) -> None:
    certificate, key = written(tmp_path)
    command = [*process.PENSTOCK, "check", "--tls-certificate", str(certificate), "--tls-key"]
    environ = process.clean_environment()
    done = subprocess.run([*command, str(key)], cwd=tmp_path, env=environ, check=False, capture_output=True, text=True)
    assert (done.returncode, "https://127.0.0.1:8420" in done.stdout) == (0, True)
    done = subprocess.run(
        [*command, "none.pem"], cwd=tmp_path, env=environ, check=False, capture_output=True, text=True
    )
    assert (done.returncode, "none.pem cannot be read" in done.stderr) == (1, True)
    done = subprocess.run(command[:-1], cwd=tmp_path, env=environ, check=False, capture_output=True, text=True)
    assert (done.returncode, "tls_key" in done.stderr) == (1, True)
