"""Canaries: what must never be written down is sent through every door of a real server, and then looked for everywhere."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from tests.cli.serving import starting
from tests.loopback import http_client
from tests.server.keyed import bearer, operations, subprotocol
from tests.server.reading import websocket

KEY = "canary-key-0f3a77e1-never-written"
WRONG = "canary-wrong-8b21c6d4-never-written"
PROMPT = "canary-prompt-5d90ab42-never-written"
SECRET = "canary-secret-c0ffee00-never-written"
ENVIRON = {"PENSTOCK_API_KEYS": f"carol:{KEY}", "PENSTOCK_AUTH__SECRET": SECRET, "PENSTOCK_LOG_LEVEL": "debug"}
DEMO = "[demo]\nrate = 0\ntokens = 12\n"


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with http_client(url) as client:
        yield client


async def use(client: httpx2.AsyncClient, url: str) -> list[str]:
    """Ask on every path with the right key, a wrong one and none; returns what every refusal said, and the tokens of URLs."""
    said: list[str] = []
    for headers in (bearer(KEY), bearer(WRONG), {"x-api-key": WRONG}, {}):
        for method, path in operations():
            body = {"prompt": PROMPT, "message": PROMPT} if method == "POST" else None
            place = path.replace("{stream}", "st_" + "a" * 26)
            answer = await client.request(
                method, place, params={"prompt": PROMPT, "x": WRONG}, json=body, headers=headers
            )
            said.append(answer.text)
    created = await client.post(
        "/v1/streams", json={"prompt": PROMPT}, headers={**bearer(KEY), "accept": "application/json"}
    )
    body = created.json()
    tokens = [body[name].partition("access=")[2] for name in ("events_url", "cancel_url")]
    await client.get(body["events_url"])
    await client.delete(body["cancel_url"])
    await client.get(f"{body['url']}/events?access={WRONG}")
    await client.get(f"/v1/chat/stream?prompt={PROMPT}", headers=bearer(KEY))
    socket = url.replace("http", "ws") + "/v1/chat/ws"
    async with websocket(socket, subprotocols=["penstock.v1", subprotocol(KEY)]) as opened:
        await opened.ask(type="start", ref="1", request={"prompt": PROMPT})
        await opened.until("finished")
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(socket, subprotocols=["penstock.v1", subprotocol(WRONG)]):
            pass
    said.append(refused.value.response.body.decode())
    async with websocket(socket) as opened:
        said.append(json.dumps(await opened.ask(type="authenticate", key=WRONG)))
    return [*said, *tokens]


async def test_keys_prompts_and_tokens_stand_in_no_log_no_error_and_no_metric(tmp_path: Path) -> None:
    with starting(tmp_path, "--log-format", "json", config=DEMO, environ=ENVIRON) as served:
        await served.ready()
        async with client_of(served.url) as client:
            *said, read, cancel = await use(client, served.url)
            metrics = (await client.get("/metrics", headers=bearer(KEY))).text
            models = (await client.get("/v1/models", headers=bearer(KEY))).text
        assert "penstock_" in metrics
    log = (tmp_path / "log").read_text()
    assert '"principal":"carol"' in log
    written = {"log": log, "metrics": metrics, "models": models, "errors": "\n".join(said)}
    found = [
        (place, canary)
        for place, text in written.items()
        for canary in (KEY, SECRET, WRONG, read, cancel, subprotocol(KEY), PROMPT)
        if canary in text
    ]
    assert found == []
