"""Mounted in an application of one's own: who may come is its business, and it says whose a run is."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.routing import Mount

from penstock import Penstock
from penstock.config.model import Config
from penstock.config.server import ServerConfig

QUESTION = {"prompt": "Hello"}


async def answer() -> AsyncGenerator[str]:
    yield "Hello"


def who(scope: Mapping[str, Any]) -> str | None:
    """As an application would that has put its user into the scope."""
    for name, value in scope["headers"]:
        if name == b"x-user":
            return str(value.decode())
    return None


@asynccontextmanager
async def mounted(penstock: Penstock) -> AsyncIterator[httpx2.AsyncClient]:
    app = Starlette(routes=[Mount("/ai", penstock)])
    transport = httpx2.ASGITransport(app=app)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop.example/ai") as client:
            yield client
    finally:
        await penstock.close()


async def created(client: httpx2.AsyncClient, user: str) -> dict[str, Any]:
    headers = {"x-user": user, "accept": "application/json"}
    body: dict[str, Any] = (await client.post("/v1/streams", json=QUESTION, headers=headers)).json()
    return body


async def test_by_default_neither_keys_nor_pages_nor_names_are_looked_at() -> None:
    async with mounted(Penstock(answer)) as client:
        headers = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        text = await client.post("/v1/chat/chunked", json=QUESTION, headers=headers)
        assert (text.status_code, text.text) == (200, "Hello")
        assert "access-control-allow-origin" not in text.headers


async def test_a_run_belongs_to_whom_the_application_names() -> None:
    async with mounted(Penstock(answer, principal=who)) as client:
        body = await created(client, "alice")
        path = body["url"].removeprefix("/ai")
        statuses = [(await client.get(path, headers={"x-user": user})).status_code for user in ("alice", "bob")]
        assert statuses == [200, 404]
        assert (await client.get(f"{path}?access=wrong", headers={"x-user": "alice"})).status_code == 404
        assert (await client.get(path, headers={"x-user": ""})).status_code == 401
        nobody = await client.get(path)
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (401, "unauthenticated")
        listed = await client.get("/v1/streams", headers={"x-user": "bob"})
        assert listed.json() == {"streams": []}


async def test_its_url_is_good_for_who_has_no_session_too() -> None:
    async with mounted(Penstock(answer, principal=who)) as client:
        body = await created(client, "alice")
        assert body["events_url"].startswith(f"/ai/v1/streams/{body['id']}/events?access=r.")
        told = await client.get(body["events_url"].removeprefix("/ai"))
        assert (told.status_code, '"text":"Hello"' in told.text) == (200, True)


async def test_pages_are_looked_at_where_their_sites_are_listed() -> None:
    config = Config(server=ServerConfig(origins=("https://friend.example",), hosts=("shop.example",)))
    async with mounted(Penstock(answer, config=config)) as client:
        for origin, status in (
            ("https://friend.example", 200),
            ("https://evil.example", 403),
            ("http://shop.example", 200),
        ):
            told = await client.get("/v1/models", headers={"origin": origin})
            assert (origin, told.status_code) == (origin, status)
