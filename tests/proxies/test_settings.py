"""What the files in `deploy/` say, beside what streams through them: limits, idle times, and who claims to ask."""

import asyncio
import re

import pytest

from penstock.config.bounds import TimeLimits
from penstock.config.model import Config
from penstock.config.server import ServerConfig
from tests.proxies.conftest import fronts
from tests.proxies.running import DEPLOY, Front, Kind, documented
from tests.server.reading import event_stream
from tests.serving import Served

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(file: str, setting: str) -> float:
    """The one value of a setting of a configuration file, in seconds."""
    (found,) = re.findall(rf"^\s*{setting} (\d+)(ms|s|m|h);?$", (DEPLOY / file).read_text(), re.MULTILINE)
    return int(found[0]) * UNITS[found[1]]


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("nginx/penstock.conf", "proxy_read_timeout"),
        ("nginx/prefix.conf", "proxy_read_timeout"),
        ("haproxy/haproxy.cfg", "timeout client"),
        ("haproxy/haproxy.cfg", "timeout server"),
        ("haproxy/haproxy.cfg", "timeout tunnel"),
    ],
)
def test_no_proxy_ends_a_silence_that_penstock_allows(file: str, setting: str) -> None:
    allowed = seconds(file, setting)
    limits = TimeLimits()
    assert allowed > max(limits.first_token, limits.gap) > Config().server.heartbeat
    assert allowed >= 4 * Config().server.heartbeat


def test_caddy_is_given_no_idle_time_and_has_none_of_its_own() -> None:
    assert re.findall(r"^\s*(?:read|write|idle|stream)_timeout", (DEPLOY / "caddy/Caddyfile").read_text(), re.M) == []


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("nginx/penstock.conf", r"keepalive_timeout (\d+)s;"),
        ("caddy/Caddyfile", r"keepalive (\d+)s"),
        ("haproxy/haproxy.cfg", r"pool-purge-delay (\d+)s"),
    ],
)
def test_no_proxy_keeps_a_connection_longer_than_penstock_does(file: str, pattern: str) -> None:
    (kept,) = re.findall(pattern, (DEPLOY / file).read_text())
    assert int(kept) < ServerConfig().keep_alive


@fronts("nginx", "caddy", "haproxy")
async def test_a_long_question_in_the_url_arrives(served: Served, front: Front) -> None:
    async with front.client() as client:
        prompt = "why " * 1500
        reading = event_stream(client, "GET", "/v1/chat/stream", params={"prompt": prompt})
        async with reading:
            telling = await served.telling()
            assert telling.request.prompt == prompt
            telling.finish()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("nginx", "caddy", "haproxy")]
)
async def test_what_a_client_claims_of_itself_is_not_passed_on(kind: Kind) -> None:
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as upstream,
        documented(kind, upstream.sockets[0].getsockname()[1]) as front,
        front.client() as client,
    ):
        claimed = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "gopher"}
        assert (await client.get("/v1/models", headers=claimed)).status_code == 204
    (head,) = heads
    told = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    assert {name: told[name] for name in ("host", *claimed)} == {
        "host": f"127.0.0.1:{front.port}",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
    }
