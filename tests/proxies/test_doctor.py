"""What `penstock doctor` says behind proxies that are set up well, and behind one that is spoilt in every way it knows."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from penstock.cli.doctor import Nobody, examined
from penstock.cli.doctor_checks import Finding
from penstock.config.model import AuthConfig, Config
from penstock.config.units import Secret
from penstock.sources.demo import build as demo
from tests.proxies.conftest import FRONTS
from tests.proxies.running import Front, Kind, caddy, documented, nginx, reserved
from tests.proxies.test_streaming import hides_cuts
from tests.serving import Served, configured, serving

KEY = "sk-for-the-doctor-0123456789"
WITH_KEY = msgspec.structs.replace(Config(), auth=AuthConfig(api_keys=Secret(KEY)))
ALL_WELL = 60.0
"""Seconds until a token is given up where none must be: nobody waits for it."""
HELD = 0.5
"""The same where tokens are held back for good: it is waited for, and whatever its length, they do not come."""

SPOILT = """
    server {
        listen 127.0.0.1:PORT;
        gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;
        client_max_body_size 64k;
        location / {
            proxy_pass http://127.0.0.1:UPSTREAM;
            proxy_set_header Host elsewhere.example;
            proxy_buffering on;
            proxy_ignore_headers X-Accel-Buffering;
            proxy_hide_header X-Content-Type-Options;
            proxy_ignore_client_abort on;
            proxy_read_timeout 4s;
        }
    }
"""


@asynccontextmanager
async def demonstrating(config: Config | None = None, **server: Any) -> AsyncGenerator[Served]:
    """A server with the demo. Its clock stands, so no heartbeat covers for a silence."""
    async with serving(configured(config, **server), sources={"demo": demo(rate=0)}) as served:
        yield served


async def findings(
    front: Front | Served, *, patience: float = ALL_WELL, idle: float = 0.2, key: str | None = None
) -> list[Finding]:
    tls = front.tls if isinstance(front, Front) else None
    return [each async for each in examined(front.url, key=key, patience=patience, idle=idle, tls=tls)]


def wrong(found: list[Finding]) -> list[tuple[str, str]]:
    """What is not well, and whether that is a fault."""
    return [(each.check, each.outcome) for each in found if each.outcome != "ok"]


async def test_without_a_proxy_nothing_is_found_but_that_there_is_no_tls() -> None:
    async with demonstrating() as served:
        found = await findings(served)
    assert wrong(found) == [("TLS", "warning")]
    assert found[0].said.startswith("no proxy shows itself")
    assert {each.check for each in found} >= {"SSE", "NDJSON", "bare text", "WebSocket", "resume", "leaving", "failure"}


@pytest.mark.parametrize("prefix", [False, True], ids=["whole site", "below a prefix"])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("nginx", "caddy", "haproxy")]
)
async def test_behind_a_documented_proxy_nothing_is_found(kind: Kind, prefix: bool) -> None:
    async with (
        demonstrating(path_prefix="/llm" if prefix else "") as served,
        documented(kind, served.port, prefix=prefix) as front,
    ):
        found = await findings(front)
    assert wrong(found) == ([("failure", "fault")] if hides_cuts(front) else [])
    assert found[0].said.lower().startswith(kind if kind != "haproxy" else "no proxy shows itself")


@pytest.mark.needs("nginx")
async def test_behind_a_spoilt_nginx_every_fault_is_named_with_its_line() -> None:
    async with (
        demonstrating(WITH_KEY) as served,
        nginx(SPOILT.replace("UPSTREAM", str(served.port))) as front,
    ):
        found = await findings(front, patience=HELD, idle=60, key=KEY)
    faults = {(each.check, each.fault) for each in found if each.outcome == "fault"}
    streams = ("SSE", "NDJSON", "bare text")
    assert faults == {
        ("own page", "origin"),
        ("request body", "body"),
        *((name, "buffers") for name in streams),
        *((f"{name} head", fault) for name in streams for fault in ("compresses", "headers")),
        *((f"{name}, uncompressed", "buffers") for name in streams),
        *((f"{name} at rest", "idle") for name in streams),
        ("WebSocket", "upgrade"),
        ("leaving", "leaving"),
    }
    lines = " ".join({each.advice or "" for each in found})
    for line in (
        "proxy_buffering off;",
        "gzip off;",
        "proxy_read_timeout 360s;",
        "proxy_set_header Upgrade $http_upgrade;",
        "client_max_body_size 16m;",
        "proxy_set_header Host $http_host;",
        "proxy_ignore_client_abort off;",
    ):
        assert line in lines


IMPATIENT = """
    server {
        listen 127.0.0.1:PORT;
        client_max_body_size 16m;
        location / {
            proxy_pass http://127.0.0.1:UPSTREAM;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $http_host;
            proxy_read_timeout 3s;
        }
    }
"""


@pytest.mark.needs("nginx")
async def test_an_nginx_that_waits_less_than_the_model_thinks_is_told_so_for_every_transport() -> None:
    async with demonstrating() as served, nginx(IMPATIENT.replace("UPSTREAM", str(served.port))) as front:
        found = await findings(front, idle=60)
    faults = {(each.check, each.fault) for each in found if each.outcome == "fault"}
    assert faults == {(f"{name} at rest", "idle") for name in ("SSE", "NDJSON", "bare text", "WebSocket")}


@pytest.mark.needs("nginx")
async def test_compression_that_holds_nothing_back_is_a_warning() -> None:
    async with demonstrating() as served, FRONTS["nginx that compresses"](served.port) as front:
        found = await findings(front)
    assert [(each.outcome, each.fault) for each in found if each.check == "SSE head"] == [("warning", "compresses")]
    assert [each.outcome for each in found if each.check == "SSE"] == ["ok"]


@pytest.mark.needs("caddy")
async def test_a_caddy_that_is_told_to_flush_by_itself_reads_on_for_nobody() -> None:
    async with demonstrating() as served, caddy(served.port, "flush_interval -1") as front:
        found = await findings(front, patience=HELD)
    (leaving,) = [each for each in found if each.check == "leaving"]
    assert (leaving.outcome, leaving.fault) == ("fault", "leaving")
    assert "caddy: take out flush_interval -1" in (leaving.advice or "")


async def test_a_server_that_wants_a_key_says_so_through_the_doctor() -> None:
    async with demonstrating(WITH_KEY) as served:
        found = await findings(served)
        assert [(each.check, each.outcome) for each in found][-1] == ("penstock", "fault")
        assert "key" in found[-1].said
        assert wrong(await findings(served, key=KEY)) == [("TLS", "warning")]


async def test_without_the_demo_it_says_what_it_could_not_try() -> None:
    async with serving() as served:
        found = await findings(served)
    assert (found[-1].check, found[-1].outcome) == ("streams", "untested")
    assert "no model is called 'demo'" in found[-1].said


@pytest.mark.needs("nginx")
async def test_a_certificate_nobody_vouches_for_is_a_fault() -> None:
    async with demonstrating() as served, documented("nginx", served.port) as front:
        found = [each async for each in examined(front.url, patience=ALL_WELL, idle=0)]
    assert [(each.check, each.outcome) for each in found] == [("TLS", "fault")]


async def test_where_nobody_answers_it_says_so() -> None:
    with reserved() as port, pytest.raises(Nobody, match=f"nobody answers at http://127.0.0.1:{port}"):
        [each async for each in examined(f"http://127.0.0.1:{port}")]
    with pytest.raises(Nobody, match="is no URL"):
        [each async for each in examined("llm.example.org:x")]
