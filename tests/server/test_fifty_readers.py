"""Fifty readers of one run at once, over every transport and in every dialect: one and the same text."""

import asyncio
import json
from itertools import cycle, islice, product

import httpx2

from penstock.core.events import Closed, Delta, Finished, Opened, Started
from penstock.testing.wire import parse_ndjson, parse_websocket
from tests.server.reading import CURSOR_KEYS, TEXT, added_up, detached, received_sse, websocket
from tests.serving import Served

DIALECTS = list(CURSOR_KEYS)
WAYS = [*product(["sse", "ndjson", "websocket"], DIALECTS), ("text", "plain")]
WORDS = [f"word {n} — Grüße \U0001f30d\n" for n in range(120)]


async def read(served: Served, client: httpx2.AsyncClient, run: str, transport: str, dialect: str) -> str:
    """Read the whole run this way."""
    key = CURSOR_KEYS[dialect]
    if transport == "websocket":
        async with websocket(served.ws_url) as socket:
            assert (await socket.ask(type="attach", stream=run, dialect=dialect))["type"] == "ok"
            messages = [await socket.next()]
            while not messages[-1].get(key, "").endswith(f":{2 + len(WORDS) + 2}"):
                messages.append(await socket.next())
        return added_up(dialect, parse_websocket(map(json.dumps, messages), key, run)).text()
    headers = {"accept": TEXT[transport]}
    answer = await client.get(f"/v1/streams/{run}/events?dialect={dialect}", headers=headers)
    match transport:
        case "text":
            return answer.text
        case "ndjson":
            return added_up(dialect, parse_ndjson([answer.content], key)).text()
        case _:
            return added_up(dialect, received_sse(answer.content)).text()


async def test_fifty_readers_at_once_have_the_same_text(served: Served) -> None:
    async with served.client(limits=httpx2.Limits(max_connections=60)) as client:
        run = await detached(client)
        telling = await served.telling()
        early = [asyncio.ensure_future(read(served, client, run, *way)) for way in islice(cycle(WAYS), 30)]
        await served.attended(30)
        telling.say(Started(run, "scripted", telling.run.created), Opened(0, "text"))
        for word in WORDS[:60]:
            telling.say(Delta(0, word))
        await served.attended(30)
        late = [asyncio.ensure_future(read(served, client, run, *way)) for way in islice(cycle(WAYS), 20)]
        await served.attended(50)
        telling.say(*(Delta(0, word) for word in WORDS[60:]), Closed(0), Finished())
        texts = await asyncio.gather(*early, *late)
    assert {text == "".join(WORDS) for text in texts} == {True}
    assert len(texts) == 50
    assert len(served.source.tellings) == 1
