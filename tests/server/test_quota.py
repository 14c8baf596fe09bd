"""What one key may have: runs a minute, runs and readers at once; a reconnect costs nothing, and others never notice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from penstock.auth.keyfile import changing
from penstock.core.events import Failed
from penstock.core.request import Principal
from tests.server.keyed import ALICE, BOB, BODIES, add_key, bearer, keyed, with_keys
from tests.server.reading import PROMPT, event_stream, websocket
from tests.server.test_errors import POSTS
from tests.serving import Served, serving
from tests.waiting import until

DETACHED = {"accept": "application/json"}


async def begun(client: httpx2.AsyncClient, key: str, **headers: str) -> httpx2.Response:
    return await client.post("/v1/streams", json=PROMPT, headers={**DETACHED, **bearer(key), **headers})


@pytest.fixture
async def three() -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    """A key has three live runs, two readers, and no other limit."""
    async with keyed(with_keys(runs_per_minute=0.0, concurrent_runs=3, concurrent_readers=2)) as pair:
        yield pair


async def test_two_hundred_at_once_of_one_key_cost_another_key_nothing(
    three: tuple[Served, httpx2.AsyncClient],
) -> None:
    _, client = three
    flood = [begun(client, ALICE) for _ in range(200)]
    others = [client.get("/v1/streams", headers=bearer(BOB)) for _ in range(20)] + [
        begun(client, BOB) for _ in range(3)
    ]
    answers = await asyncio.gather(*flood, *others)
    refused = [answer for answer in answers[:200] if answer.status_code != 201]
    assert len(refused) == 197
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}
    assert {answer.json()["error"]["code"] for answer in refused} == {"too_many_runs"}
    assert [answer.status_code for answer in answers[200:]] == [200] * 20 + [201] * 3


async def test_a_run_that_ends_makes_room_for_another(three: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = three
    runs = [(await begun(client, ALICE)).json()["id"] for _ in range(3)]
    assert (await begun(client, ALICE)).status_code == 429
    (await served.telling()).finish()
    await until("it has ended", lambda: runs[0] in served.seen.ended)
    assert (await begun(client, ALICE)).status_code == 201
    await client.delete(f"/v1/streams/{runs[1]}", headers=bearer(ALICE))
    assert (await begun(client, ALICE)).status_code == 201


async def test_it_is_refused_in_the_words_of_each_route() -> None:
    async with keyed(with_keys(runs_per_minute=1.0, burst=1)) as (_, client):
        assert (await begun(client, ALICE)).status_code == 201
        for path, dialect in POSTS.items():
            answer = await client.post(path, json=BODIES.get(path, PROMPT), headers=bearer(ALICE))
            body = answer.json()
            match dialect:
                case "token-done":
                    code, message = body["error_code"], body["error"]
                case "anthropic":
                    code, message = body["error"]["details"]["error_code"], body["error"]["message"]
                case _:
                    code, message = body["error"]["code"], body["error"]["message"]
            assert (answer.status_code, code) == (429, "RATE_LIMIT" if dialect == "token-done" else "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "1 runs a minute" in message


async def test_coming_back_costs_no_run() -> None:
    async with keyed(with_keys(runs_per_minute=1.0, burst=1)) as (served, client):
        first = await begun(client, ALICE, **{"idempotency-key": "one"})
        telling = await served.telling()
        telling.speak("a")
        telling.finish()
        await until("it has ended", lambda: bool(served.seen.ended))
        run, cursor = first.json()["id"], first.json()["cursor"]
        client.headers.update(bearer(ALICE))
        for _ in range(2):
            assert (await begun(client, ALICE, **{"idempotency-key": "one"})).json()["id"] == run
            assert (await client.get(f"/v1/streams/{run}/events")).status_code == 200
            assert (
                await client.post("/v1/chat/stream", json=PROMPT, headers={"last-event-id": cursor})
            ).status_code == 200
            async with websocket(served.ws_url, additional_headers=bearer(ALICE)) as socket:
                assert (await socket.ask(type="attach", stream=run))["type"] == "ok"
        assert (await begun(client, ALICE)).status_code == 429
        assert (await begun(client, BOB)).status_code == 201


async def test_a_reader_too_many_is_refused_on_every_transport_and_begins_no_run(
    three: tuple[Served, httpx2.AsyncClient],
) -> None:
    served, client = three
    body = (await begun(client, ALICE)).json()
    run, path = body["id"], f"/v1/streams/{body['id']}/events"
    (await served.telling()).speak("a")
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(event_stream(client, "GET", path, headers=bearer(ALICE)))
        for url in (path, f"{path}?wait=1", f"/v1/streams/events?streams={run}", "/v1/chat/stream?prompt=Hi"):
            answer = await client.get(url, headers=bearer(ALICE))
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_readers")
        assert (await client.get(body["events_url"])).status_code == 429  # its owner's, whoever it was given to
        async with websocket(served.ws_url, additional_headers=bearer(ALICE)) as socket:
            assert (await socket.ask(type="attach", stream=run))["code"] == "too_many_readers"
            answer = await socket.ask(type="start", ref="1", request=PROMPT)
            assert answer["code"] == "too_many_readers"
        assert len(served.source.tellings) == 1
        assert (await begun(client, ALICE)).status_code == 201  # which nobody reads
    await served.attended(0, run)
    async with event_stream(client, "GET", path, headers=bearer(ALICE)):
        pass


async def test_several_runs_on_one_sse_are_as_many_readers(three: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = three
    runs = [(await begun(client, ALICE)).json()["id"] for _ in range(3)]
    answer = await client.get(f"/v1/streams/events?streams={','.join(runs)}", headers=bearer(ALICE))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_readers")
    assert [len(served.run(run).log.readers) for run in runs] == [0, 0, 0]
    async with event_stream(
        client, "GET", f"/v1/streams/events?streams={','.join(runs[:2])}", headers=bearer(ALICE)
    ) as stream:
        assert stream.response.status_code == 200
        answer = await client.get(f"/v1/streams/{runs[2]}/events", headers=bearer(ALICE))
        assert answer.status_code == 429


async def test_whichever_way_things_end_nothing_stays_in_use(three: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = three
    client.headers.update(bearer(ALICE))
    body = (await begun(client, ALICE)).json()
    path = f"/v1/streams/{body['id']}/events"
    polled = asyncio.ensure_future(client.get(f"{path}?wait=60"))
    async with event_stream(client, "GET", path):
        await served.attended(2)
        assert served.runs.shares.principals() == {Principal("alice")}
        (await served.telling()).speak("a")
        await polled
    await served.attended(0, body["id"])
    async with websocket(served.ws_url, additional_headers=bearer(ALICE)) as socket:
        failing = await socket.start()
        (await served.telling(1)).fail()
        await until("it has failed", lambda: failing in served.seen.ended)
    await client.delete(body["url"])
    assert (await client.get(path)).status_code == 200
    refused = await client.post("/v1/chat/completions", json={**PROMPT, "model": "none"})
    assert refused.status_code == 404
    await until("nothing is in use", lambda: not served.runs.shares.principals())


async def test_keys_of_one_name_share_what_they_may_have(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    fresh = add_key(path, "alice")
    async with keyed(with_keys(keys_file=str(path), concurrent_runs=1)) as (_, client):
        assert (await begun(client, ALICE)).status_code == 201
        assert (await begun(client, fresh)).status_code == 429


async def test_while_access_is_open_nothing_is_counted() -> None:
    async with serving() as served, served.client() as client:
        answers = await asyncio.gather(*(client.post("/v1/streams", json=PROMPT, headers=DETACHED) for _ in range(250)))
        assert {answer.status_code for answer in answers} == {201}


async def test_who_lost_the_last_key_is_let_go_and_the_model_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.auth.keyfile.LOOK", 0.0)
    path = tmp_path / "keys.json"
    text = add_key(path, "carol")
    async with (
        keyed(with_keys(keys_file=str(path))) as (served, client),
        event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=bearer(text)) as hers,
        event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=bearer(BOB)) as bobs,
    ):
        first, second = [await served.telling(number) for number in range(2)]
        carol, bob = (first, second) if first.run.principal.name == "carol" else (second, first)
        carol.speak("a")
        bob.speak("b")
        with changing(path) as keys:
            keys.clear()
        served.tick(0)
        await carol.closed.wait()
        assert [event.data for event in await hers.rest()][-1].count("unauthenticated") == 1
        terminal = served.seen.ended[carol.run.id]
        assert isinstance(terminal, Failed)
        assert terminal.error.code == "unauthenticated"
        bob.finish()
        await bobs.rest()
