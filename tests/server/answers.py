"""What clients of OpenAI Responses send and get: requests, events by number, and the answers they add up to."""

import asyncio
from typing import Any

import httpx2

from penstock.config.units import Seconds
from tests.server.reading import received_sse
from tests.serving import Served, Telling, configured

PATH = "/v1/responses"
QUESTION: dict[str, Any] = {"model": "scripted", "input": "Say something."}


ANSWERS = configured(heartbeat=Seconds(3600), routes={PATH: {"header_hold": Seconds(0)}})
"""A stream begins at once, so that a test can read it before anything was said."""


def said(served: Served, number: int) -> list[Any]:
    """The messages that the n-th run was asked with."""
    return list(served.source.tellings[number].request.messages)


async def answered(served: Served, client: httpx2.AsyncClient, text: str = "Hello", **more: Any) -> dict[str, Any]:
    """One whole answer that says this text."""
    asking = asyncio.ensure_future(client.post(PATH, json={**QUESTION, **more}))
    telling = await served.telling(len(served.source.tellings))
    telling.speak(*text)
    telling.finish()
    response = await asking
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    return value


async def begun(served: Served, client: httpx2.AsyncClient, **more: Any) -> tuple[dict[str, Any], Telling]:
    """An answer in the background, at once, and what its source will say."""
    response = await client.post(PATH, json={**QUESTION, "background": True, **more})
    assert response.status_code == 200, response.text
    return response.json(), await served.telling(len(served.source.tellings) - 1)


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def events(body: bytes) -> list[tuple[int, Any]]:
    """Number and event of each block."""
    values: list[Any] = [block.value for block in received_sse(body)]
    return [(value["sequence_number"], value) for value in values]


def joined(told: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """The same events with adjacent deltas of one item as one, which has the number of its last."""
    out: list[tuple[int, Any]] = []
    for number, event in told:
        before = out[-1][1] if out else {}
        if "delta" in event and (before.get("type"), before.get("item_id")) == (event["type"], event["item_id"]):
            event = {**event, "delta": before["delta"] + event["delta"]}
            out.pop()
        out.append((number, event))
    return out
