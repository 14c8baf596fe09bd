"""Web pages: whose may use the server, on every path and on the socket; what they are told; and names that lead here."""

from collections.abc import AsyncGenerator

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from penstock.assembly import build
from penstock.auth.browser import EXPOSED
from tests.server.keyed import ALICE, NEEDS_NONE, ask, bearer, keyed, operations, with_keys
from tests.server.reading import PROMPT, event_stream, websocket
from tests.serving import Served, configured, serving

EVIL = "https://evil.example"
FRIEND = "https://chat.example.com"
RUN = "st_" + "a" * 26
PATHS = [(method, path) for method, path in operations() if path not in NEEDS_NONE]


@pytest.fixture
async def both() -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    """While access is open; one other site is known."""
    async with serving(configured(origins=(FRIEND,))) as served, served.client() as client:
        yield served, client


SHOWING = {
    "a page of another site": ({"origin": EVIL}, 403, "origin_refused"),
    "a page without an origin": ({"origin": "null"}, 403, "origin_refused"),
    "an image or a form of another site": ({"sec-fetch-site": "cross-site"}, 403, "origin_refused"),
    "a name that was pointed here": ({"host": "evil.example:8420"}, 421, "unknown_host"),
    "its own page, by that name": ({"host": "evil.example", "origin": "http://evil.example"}, 421, "unknown_host"),
}


@pytest.mark.parametrize("who", SHOWING)
async def test_while_access_is_open_others_are_refused_on_every_path(
    both: tuple[Served, httpx2.AsyncClient], who: str
) -> None:
    served, client = both
    headers, status, code = SHOWING[who]
    for method, path in [*PATHS, ("GET", "/nothing/here"), ("PUT", "/v1/streams")]:
        answer = await ask(client, method, path.replace("{stream}", RUN), headers=headers)
        body = answer.json()
        error = body.get("error", {})
        said = (
            body.get("code")
            or body.get("error_code", "").lower()
            or error.get("code")
            or error["details"]["error_code"]
        )
        assert (path, answer.status_code, said) == (path, status, code)
        assert "access-control-allow-origin" not in answer.headers
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(served.ws_url, additional_headers=headers, origin=None):
            pass
    assert refused.value.response.status_code in (status, 400)  # two Host headers are refused before they are read
    assert served.runs.by_id == {}


@pytest.mark.parametrize("path", NEEDS_NONE)
async def test_health_is_told_to_whoever_asks_by_whatever_name(
    both: tuple[Served, httpx2.AsyncClient], path: str
) -> None:
    answer = await both[1].get(path, headers={"host": "10.1.2.3:9", "origin": EVIL})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)


async def test_a_socket_is_refused_to_a_page_of_another_site_and_given_to_ones_own(
    both: tuple[Served, httpx2.AsyncClient],
) -> None:
    served, _ = both
    for origin in (EVIL, "null", f"{FRIEND}:8443"):
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(served.ws_url, additional_headers={"origin": origin}):
                pass
        assert refused.value.response.status_code == 403
    for origin in (served.url, FRIEND, "http://localhost:3000"):
        async with websocket(served.ws_url, additional_headers={"origin": origin}) as socket:
            assert (await socket.ask(type="ping"))["type"] == "pong"


async def test_a_page_that_may_reads_the_answer_and_the_error(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    told = {"access-control-allow-origin": FRIEND, "vary": "origin", "access-control-expose-headers": EXPOSED.decode()}
    headers = {"origin": FRIEND, "sec-fetch-site": "cross-site"}
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=headers) as stream:
        assert {name: stream.response.headers[name] for name in told} == told
        (await served.telling()).finish()
        await stream.rest()
    for answer in (
        await client.post("/v1/streams", content=b"{", headers=headers),
        await client.get("/v1/models", headers=headers),
        await client.get("/nothing/here", headers=headers),
        await client.put("/v1/streams", headers=headers),
    ):
        assert {name: answer.headers[name] for name in told} == told
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_is_answered_for_pages_that_may_and_for_no_others() -> None:
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with keyed(with_keys(server={"origins": (FRIEND,)})) as (served, client):
        allowed = await client.options("/v1/streams", headers={**asking, "origin": FRIEND})
        assert (allowed.status_code, allowed.headers["access-control-allow-methods"]) == (204, "POST, GET")
        assert allowed.headers["access-control-allow-origin"] == FRIEND
        for name in ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Api-Key"):
            assert name in allowed.headers["access-control-allow-headers"].split(", ")
        refused = await client.options("/v1/streams", headers={**asking, "origin": EVIL})
        assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)
        plain = await client.options("/v1/streams", headers={"origin": FRIEND, **bearer(ALICE)})
        assert (plain.status_code, plain.headers["allow"]) == (405, "POST, GET")
        assert served.runs.by_id == {}


async def test_with_keys_a_page_of_another_site_is_refused_even_with_one() -> None:
    async with keyed(with_keys(server={"origins": (FRIEND,)})) as (_, client):
        for origin, status in ((EVIL, 403), ("http://localhost:3000", 403), (FRIEND, 200), (str(client.base_url), 200)):
            answer = await client.get("/v1/streams", headers={**bearer(ALICE), "origin": origin.rstrip("/")})
            assert (origin, answer.status_code) == (origin, status)
        missing = await client.get("/v1/streams", headers={"origin": FRIEND})
        assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (401, FRIEND)


async def test_with_keys_any_name_will_do_until_names_are_set() -> None:
    named = {**bearer(ALICE), "host": "ai.example.com"}
    other = {**bearer(ALICE), "host": "other.example.com"}
    async with keyed() as (_, client):
        assert [(await client.get("/v1/streams", headers=each)).status_code for each in (named, other)] == [200, 200]
    async with keyed(with_keys(server={"hosts": ("ai.example.com",)})) as (_, client):
        assert [(await client.get("/v1/streams", headers=each)).status_code for each in (named, other)] == [200, 421]


async def test_the_page_may_be_opened_from_a_link_anywhere() -> None:
    app = build()
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as client:
        page = await client.get("/", headers=link)
        assert (page.status_code, page.headers["referrer-policy"]) == (200, "no-referrer")
        assert (await client.get("/", headers={"host": "evil.example"})).status_code == 421
        assert (await client.get("/v1/chat/stream?prompt=Hi", headers=link)).status_code == 403
    assert app.service.runs.by_id == {}
    await app.close()
