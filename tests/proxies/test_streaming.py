"""What a stream keeps behind a proxy: each token by itself, its failure, its cursor, its cancel, its bound.

The source says the next word only when the far client has shown the last one: what held a word back would hold up the test.
"""

import asyncio
import json
from collections.abc import Iterator

import pytest

from penstock.core.events import Cancelled, Delta
from tests.live.test_curl import PARTIAL_FILE, curl
from tests.proxies.conftest import FRONTS, fronts
from tests.proxies.running import Front, version
from tests.server.reading import PROMPT, TEXT, event_stream, lines, websocket
from tests.serving import Served

DOCUMENTED = ("nginx", "caddy", "haproxy")
UNCOMPRESSED = (*DOCUMENTED, "nginx as it comes")
PIECE = 8192
WORDS = ("Alpha ", "beta ", "gamma ", "delta.")


@fronts(*FRONTS)
async def test_each_word_arrives_by_itself_over_http(served: Served, front: Front) -> None:
    async with front.client() as client:
        for number, (transport, accept) in enumerate(TEXT.items()):
            headers = {"accept": accept, "x-request-id": f"asked-{transport}"}
            async with client.stream("POST", "/v1/streams", json=PROMPT, headers=headers) as response:
                telling, pieces, text = await served.telling(number), response.aiter_bytes(), b""
                for word in WORDS:
                    telling.speak(word)
                    while word.encode() not in text:
                        text += await anext(pieces)
                telling.finish()
                text += b"".join([piece async for piece in pieces])
                assert response.headers["x-request-id"] == f"asked-{transport}"
                assert response.headers["cache-control"] == "no-store, no-transform"
                assert response.headers["content-type"] == f"{accept}; charset=utf-8"
                assert "content-length" not in response.headers
            if transport == "text":
                assert text == "".join(WORDS).encode()


@pytest.mark.needs("curl")
@fronts("nginx", "haproxy", "caddy")
async def test_each_word_arrives_by_itself_over_http_2(served: Served, front: Front) -> None:
    asking = (f"{front.url}/v1/chat/chunked", "-d", json.dumps(PROMPT), "-w", "%{http_version}")
    async with curl("--http2", *front.curl, *asking) as far:
        telling = await served.telling()
        for word in WORDS:
            telling.speak(word)
            await far.shows(word)
        telling.finish()
        assert await far.ended() == 0
        assert far.text == "".join(WORDS) + "2"


@fronts(*UNCOMPRESSED)
async def test_a_sign_of_life_arrives_by_itself_before_the_first_word(served: Served, front: Front) -> None:
    async with front.client() as client, event_stream(client, "POST", "/v1/streams", json=PROMPT) as events:
        await served.attended(1)
        for _ in range(2):
            served.tick(16)
            assert await events.piece() == b": ping\n"
        telling = await served.telling()
        telling.speak("at last")
        telling.finish()
        assert "at last" in "".join(event.data for event in await events.rest())


@fronts(*DOCUMENTED)
async def test_each_word_arrives_by_itself_over_websocket(served: Served, front: Front) -> None:
    async with websocket(front.ws_url, ssl=front.tls) as socket:
        await socket.start()
        telling = await served.telling()
        telling.begin()
        assert [(await socket.next())["type"] for _ in range(2)] == ["started", "opened"]
        for word in WORDS:
            telling.speak(word)
            assert (await socket.next())["text"] == word
        telling.finish()
        assert [message["type"] for message in await socket.until("finished")] == ["closed", "finished"]


@fronts("nginx as it comes")
async def test_a_proxy_that_drops_the_upgrade_is_told_its_missing_lines(served: Served, front: Front) -> None:
    async with front.client() as client:
        handshake = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        answer = await client.get("/v1/chat/ws", headers={**handshake, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert "proxy_set_header Upgrade $http_upgrade" in answer.json()["detail"]


@fronts(*FRONTS)
async def test_leaving_cancels_the_source(served: Served, front: Front) -> None:
    async with front.client() as client:
        async with client.stream("POST", "/v1/chat/chunked", json=PROMPT, headers={"accept": TEXT["text"]}) as response:
            telling = await served.telling()
            telling.speak("Alpha")
            await anext(response.aiter_raw())
        await telling.closed.wait()
        await served.quiet()
    assert list(served.seen.ended.values()) == [Cancelled("disconnect")]


def hides_cuts(front: Front) -> bool:
    """Caddy 2.6 ends well what its upstream cut; later ones pass the cut on (Caddy's pull request 5952). The page says so."""
    return front.kind == "caddy" and version("caddy") < (2, 7)


@pytest.mark.needs("curl")
@fronts(*FRONTS)
async def test_bare_text_that_failed_is_cut(served: Served, front: Front) -> None:
    async with curl("--http1.1", *front.curl, f"{front.url}/v1/chat/chunked", "-d", json.dumps(PROMPT)) as far:
        telling = await served.telling()
        telling.speak("Alpha")
        await far.shows("Alpha")
        telling.fail()
        assert await far.ended() == (0 if hides_cuts(front) else PARTIAL_FILE)
    assert far.text == "Alpha"


@fronts(*UNCOMPRESSED)
async def test_a_failure_is_told_in_the_stream_where_it_has_words(served: Served, front: Front) -> None:
    async with front.client() as client:
        async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as events:
            telling = await served.telling(0)
            telling.speak("Alpha")
            telling.fail("provider_overloaded")
            last = json.loads((await events.rest())[-1].data)
        async with lines(client, "POST", "/v1/chat/chunked", json=PROMPT) as read:
            telling = await served.telling(1)
            telling.speak("Alpha")
            telling.fail("provider_overloaded")
            assert [last["error"]["code"], (await read.rest())[-1]["error"]["code"]] == 2 * ["provider_overloaded"]


@fronts(*UNCOMPRESSED)
async def test_a_reader_that_comes_back_gets_exactly_the_rest(served: Served, front: Front) -> None:
    async with front.client() as client:
        async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as events:
            telling = await served.telling()
            telling.speak("Alpha ")
            while '"delta"' not in (event := await events.next()).data:
                pass
        telling.speak("beta ")
        telling.finish()
        path = f"/v1/streams/{telling.run.id}/events"
        async with event_stream(client, "GET", path, headers={"last-event-id": event.id}) as events:
            rest = [json.loads(each.data) for each in await events.rest() if each.data]
        assert [each.get("text") for each in rest] == ["beta ", None, None]
        last = (await client.get(f"/v1/streams/{telling.run.id}")).json()["cursor"]
        assert (await client.get(path, headers={"last-event-id": last})).status_code == 204


@fronts(*UNCOMPRESSED)
async def test_a_far_client_that_stops_reading_stops_the_source(served: Served, front: Front) -> None:
    """What the buffers of two kernels and a proxy hold is bounded, and nothing of it is lost."""
    stopped = False

    def endless() -> Iterator[Delta]:
        while not stopped:
            yield Delta(0, "x" * PIECE)

    reader, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=front.tls, limit=1024)
    body = json.dumps(PROMPT).encode()
    head = f"POST /v1/streams HTTP/1.1\r\nhost: 127.0.0.1:{front.port}\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"accept: text/plain\r\nconnection: close\r\n\r\n" + body)
    telling = await served.telling()
    telling.begin()
    telling.say(endless())
    handle = await served.attended(1)
    await served.stuck(handle)
    (owed,) = [each.owed for each in handle.log.readers]
    assert owed <= handle.policy.bounds.high + PIECE
    stopped = True
    telling.finish()
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    text = received.partition(b"\r\n\r\n")[2]
    assert text.count(b"x") == PIECE * (telling.yielded - len(("started", "opened", "closed", "finished")))
    assert text.endswith(b"\r\n0\r\n\r\n")
