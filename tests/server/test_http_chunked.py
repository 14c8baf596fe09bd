"""One run over HTTP chunked: lines of JSON, and bare text that is cut where it is not complete."""

import asyncio

import httpx2
import pytest

from penstock.core.events import Closed, Delta, Finished, Opened, Started
from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT, TEXT, lines, said, told
from tests.serving import Served, configured, serving

NDJSON = {"Accept": TEXT["ndjson"]}


async def test_a_line_is_on_the_wire_before_the_next_is_said(served: Served, client: httpx2.AsyncClient) -> None:
    async with lines(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.begin()
        run = served.only.id
        assert [(await stream.next())["id"] for _ in range(2)] == [f"{run}:a1:1", f"{run}:a1:2"]
        for offset, word in enumerate(("one", " two"), 3):
            telling.speak(word)
            assert await stream.next() == {"type": "delta", "part": 0, "text": word, "id": f"{run}:a1:{offset}"}
        telling.finish()
        assert [line["type"] for line in await stream.rest()] == ["closed", "finished"]


async def test_lines_resume_with_exactly_the_rest(served: Served, client: httpx2.AsyncClient) -> None:
    async with lines(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a", "b")
        last = [await stream.next() for _ in range(3)][-1]
    telling.finish()
    async with lines(client, "GET", f"/v1/streams/{served.only.id}/events?after={last['id']}") as stream:
        assert [line.get("text", line["type"]) for line in await stream.rest()] == ["b", "closed", "finished"]


async def test_a_failure_is_the_last_line_and_the_end_is_clean(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/streams", headers=NDJSON, body=PROMPT)
        telling = await served.telling()
        telling.speak("half")
        telling.fail("provider_truncated")
        assert (await raw.head()).status == 200
        body = await raw.rest()
        assert body.splitlines()[-1].startswith(b'{"type":"failed","error":{"code":"provider_truncated"')
        assert raw.ended == "complete"


async def test_a_route_may_cut_its_lines_after_a_failure() -> None:
    config = configured(routes={"/v1/chat/chunked": {"abort_on_error": True}})
    async with serving(config) as served, raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", headers=NDJSON, body=PROMPT)
        telling = await served.telling()
        telling.speak("half")
        telling.fail("provider_truncated")
        await raw.head()
        body = await raw.rest()
        assert body.splitlines()[-1].startswith(b'{"type":"failed"')
        assert raw.ended == "cut"


async def test_bare_text_is_the_words_alone_as_they_are_said(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        telling.speak("Grüße")
        head = await raw.head()
        assert head.header("content-type") == "text/plain; charset=utf-8"
        assert head.header("content-length") is None
        assert await raw.body(7) == "Grüße".encode()
        telling.speak(", ", "world\n")
        assert await raw.body(8) == b", world\n"
        telling.finish()
        assert await raw.rest() == b""
        assert raw.ended == "complete"


@pytest.mark.parametrize("by", ["failure", "cancel", "source"])
async def test_bare_text_that_is_not_complete_ends_without_the_last_chunk(
    served: Served, client: httpx2.AsyncClient, by: str
) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        telling.speak("half an ans")
        await raw.head()
        assert await raw.body(11) == b"half an ans"
        match by:
            case "failure":
                telling.fail("provider_truncated")
            case "cancel":
                assert (await client.delete(f"/v1/streams/{served.only.id}")).status_code == 200
            case _:
                telling.say(ZeroDivisionError())
        assert await raw.rest() == b""
        assert (raw.ended, raw.ended_by) == ("cut", "fin")


async def test_everything_said_before_a_failure_is_written_before_the_cut(served: Served) -> None:
    text = "0123456789abcdef" * 1024
    async with raw_client(served.url, receive_buffer=4096) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        telling.speak(*[text] * 16)
        telling.fail("provider_truncated")
        await raw.head()
        assert len(await raw.rest()) == 16 * 16 * 1024
        assert raw.ended == "cut"


async def test_bare_text_resumes_by_the_bytes_a_client_has(served: Served, client: httpx2.AsyncClient) -> None:
    run = await said(served, client, "Grüße", ", ", "world")
    path, accept = f"/v1/streams/{run}/events", {"accept": "text/plain"}
    whole = "Grüße, world".encode()
    for have in range(len(whole)):
        answer = await client.get(f"{path}?after=bytes={have}", headers=accept)
        assert (have, answer.content) == (have, whole[have:])
    done = await client.get(f"{path}?after=bytes={len(whole)}", headers=accept)
    assert (done.status_code, done.content) == (204, b"")


async def test_bare_text_resumes_in_the_middle_of_a_live_run(served: Served, client: httpx2.AsyncClient) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/streams", headers={"Accept": "text/plain"}, body=PROMPT)
        telling = await served.telling()
        telling.speak("Hello", ", wor")
        await raw.head()
        assert await raw.body(7) == b"Hello, "
    async with raw_client(served.url) as raw:
        path = f"/v1/streams/{served.only.id}/events?after=bytes=7"
        await raw.request("GET", path, headers={"Accept": "text/plain"})
        await raw.head()
        assert await raw.body(3) == b"wor"
        telling.speak("ld")
        telling.finish()
        assert await raw.rest() == b"ld"


async def test_reasoning_is_in_bare_text_only_on_request(served: Served, client: httpx2.AsyncClient) -> None:
    def script(number: int) -> None:
        telling = served.source.tellings[number]
        telling.say(
            Started(telling.run.id, "scripted", telling.run.created),
            *(Opened(0, "reasoning"), Delta(0, "hm"), Closed(0)),
            *(Opened(1, "text"), Delta(1, "yes"), Closed(1), Finished()),
        )

    for number, (query, text) in enumerate([("", "yes"), ("?reasoning=1", "hm\n\nyes")]):
        asking = asyncio.ensure_future(client.post(f"/v1/chat/chunked{query}", json=PROMPT))
        await served.telling(number)
        script(number)
        assert (await asking).text == text


async def test_the_stream_id_is_in_the_headers_where_the_body_has_no_words_for_it(
    served: Served, client: httpx2.AsyncClient
) -> None:
    answer = await told(served, client.post("/v1/chat/chunked", json=PROMPT), "Hi")
    assert (answer.text, answer.headers["penstock-stream-id"]) == ("Hi", served.only.id)
