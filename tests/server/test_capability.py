"""`events_url`: for a browser's EventSource, which can send no key. Good for its run, its right and its time, for nothing else."""

import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.assembly import reload
from penstock.auth.capability import Capabilities
from penstock.auth.keyfile import changing
from penstock.config.units import Secret
from penstock.core.cursor import new_run_id
from penstock.core.events import Failed
from tests.server.keyed import ALICE, BOB, add_key, bearer, keyed, operations, with_keys
from tests.server.reading import PROMPT, event_stream, lines, websocket
from tests.serving import Served, serving

SECRET = "a secret that two servers could share"


@pytest.fixture
async def both() -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    async with keyed(with_keys(secret=Secret(SECRET))) as pair:
        yield pair


async def created(client: httpx2.AsyncClient, key: str = ALICE) -> dict[str, Any]:
    answer = await client.post("/v1/streams", json=PROMPT, headers={**bearer(key), "accept": "application/json"})
    body: dict[str, Any] = answer.json()
    return body


def error(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_its_url_reads_a_run_without_a_key_and_resumes_it(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    url = (await created(client))["events_url"]
    telling = await served.telling()
    telling.speak("one")
    async with event_stream(client, "GET", url) as stream:
        assert stream.response.headers["referrer-policy"] == "no-referrer"
        await stream.next()
        await stream.next()
        cursor = (await stream.next()).id
    telling.speak(" two")
    telling.finish()
    async with event_stream(client, "GET", url, headers={"last-event-id": cursor}) as stream:
        assert (await stream.value())["text"] == " two"
        await stream.rest()
    async with lines(client, "GET", url) as all_of_it:
        assert len(await all_of_it.rest()) > 3
    assert (
        await client.get(url, params={"wait": "1"})
    ).status_code == 401  # params replace the query: no token is left
    assert (await client.get(url + "&wait=1")).status_code == 200


async def test_every_answer_about_a_run_has_its_url_and_all_are_the_same(
    both: tuple[Served, httpx2.AsyncClient],
) -> None:
    served, client = both
    body = await created(client)
    client.headers.update(bearer(ALICE))
    shown = (await client.get(body["url"])).json()
    (listed,) = (await client.get("/v1/streams")).json()["streams"]
    assert {shown["events_url"], listed["events_url"]} == {body["events_url"]}
    async with websocket(served.ws_url, additional_headers=bearer(ALICE)) as socket:
        answer = await socket.ask(type="start", ref="1", request=PROMPT)
        assert answer["events_url"].startswith(f"/v1/streams/{answer['stream']}/events?access=r.")


async def test_who_reads_by_url_is_given_no_more_than_that(both: tuple[Served, httpx2.AsyncClient]) -> None:
    _, client = both
    body = await created(client)
    token = body["events_url"].partition("?")[2]
    shown = await client.get(f"{body['url']}?{token}")
    assert (shown.status_code, shown.json()["events_url"]) == (200, body["events_url"])
    assert error(await client.delete(f"{body['url']}?{token}")) == (403, "forbidden")
    assert error(await client.delete(f"{body['url']}?purge=1&{token}")) == (403, "forbidden")
    assert error(await client.post(f"{body['url']}/input?{token}", json="x")) == (403, "forbidden")


async def test_its_other_url_cancels_it_too_but_gives_no_input_and_does_not_purge(
    both: tuple[Served, httpx2.AsyncClient],
) -> None:
    served, client = both
    body = await created(client)
    url, _, token = body["cancel_url"].partition("?")
    assert error(await client.post(f"{url}/input?{token}", json="x")) == (403, "forbidden")
    assert (await client.get(f"{url}?{token}")).status_code == 200
    answer = await client.delete(body["cancel_url"])
    assert (answer.status_code, answer.json()["end"]["type"]) == (200, "cancelled")
    assert error(await client.delete(f"{url}?purge=1&{token}")) == (403, "forbidden")
    assert body["id"] in served.runs.by_id


def wrong_tokens(run: str) -> dict[str, str]:
    ours = Capabilities(SECRET)
    now = int(time.time())
    good = ours.token(run, "read", expires=now + 60)
    return {
        "of another run": ours.token(new_run_id(), "cancel", expires=now + 60),
        "tampered": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "with another right": "c" + good[1:],
        "with another time": good.replace(f"{now + 60:x}", f"{now + 6000:x}"),
        "expired": ours.token(run, "cancel", expires=now - 1),
        "of another server": Capabilities("another secret of 32 characters..").token(run, "cancel", expires=now + 60),
        "empty": "",
        "long": "r." * 500,
        "a key": ALICE,
    }


@pytest.mark.parametrize("wrong", wrong_tokens(new_run_id()))
async def test_a_token_that_is_not_good_is_answered_as_for_a_run_that_never_was(
    both: tuple[Served, httpx2.AsyncClient], wrong: str
) -> None:
    served, client = both
    run, none = (await created(client))["id"], new_run_id()
    token = wrong_tokens(run)[wrong]

    async def answer(method: str, path: str, each: str, headers: dict[str, str]) -> tuple[int, Any, bytes]:
        found = await client.request(
            method,
            path.replace("{stream}", each),
            params={"access": token},
            headers={**headers, "x-request-id": "same"},
            content=b"{}" if method == "POST" else None,
        )
        return found.status_code, sorted(found.headers.items()), found.content.replace(each.encode(), b"")

    for method, path in operations():
        if "{stream}" in path:
            # The bearer of a bad token is nobody, even with somebody's key.
            answers = [await answer(method, path, each, who) for each in (run, none) for who in ({}, bearer(BOB))]
            assert answers == [answers[0]] * 4
            assert answers[0][0] == 404
    assert served.run(run).pump.terminal is None


async def test_several_runs_are_read_together_with_a_token_each(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    bodies = [await created(client), await created(client, BOB)]
    tokens = [body["events_url"].partition("access=")[2] for body in bodies]
    runs = [body["id"] for body in bodies]
    for number in range(2):
        telling = await served.telling(number)
        telling.speak(f"from {number}")
        telling.finish()
    path = f"/v1/streams/events?streams={','.join(runs)}&access={','.join(tokens)}"
    async with event_stream(client, "GET", path) as stream:
        first = await stream.next()
        rest = [first, *await stream.rest()]
    assert {'"from 0"' in event.data or '"from 1"' in event.data for event in rest} == {True, False}
    cursors = rest[-1].id
    assert (await client.get(path, headers={"last-event-id": cursors})).status_code == 204
    for wrong in (tokens[:1], tokens[::-1], [tokens[0], tokens[0]], []):
        bad = f"/v1/streams/events?streams={','.join(runs)}&access={','.join(wrong)}"
        assert error(await client.get(bad)) == (404, "stream_not_found")


async def test_a_token_begins_no_run_and_lists_none(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    token = (await created(client))["events_url"].partition("?")[2]
    for method, path in operations():
        if "{stream}" in path or path in ("/v1/streams/events", "/healthz", "/readyz") or path.endswith("/ws"):
            continue
        answer = await client.request(method, f"{path}?{token}", json=PROMPT if method == "POST" else None)
        assert answer.status_code == 401
    assert len(served.source.tellings) <= 1


async def test_who_lost_all_keys_lost_the_urls_given_out_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.auth.keyfile.LOOK", 0.0)
    path = tmp_path / "keys.json"
    text = add_key(path, "carol")
    async with keyed(with_keys(keys_file=str(path))) as (_, client):
        body = await created(client, text)
        assert (await client.get(body["cancel_url"])).status_code == 200
        with changing(path) as keys:
            keys.clear()
        assert error(await client.get(body["cancel_url"])) == (404, "stream_not_found")
        assert error(await client.get(body["events_url"])) == (404, "stream_not_found")


async def test_a_reload_leaves_urls_good_without_a_secret_and_takes_them_from_who_lost_the_key() -> None:
    async with keyed() as (served, client):
        body, second = await created(client), await created(client)
        reload(served.app, with_keys(api_keys=Secret(f"alice:{ALICE}")))
        assert (await client.get(body["cancel_url"])).status_code == 200
        assert (await client.get("/v1/streams", headers=bearer(BOB))).status_code == 401
        reload(served.app, with_keys(api_keys=Secret(f"bob:{BOB}")))
        assert error(await client.get(body["cancel_url"])) == (404, "stream_not_found")
        served.tick(0)
        ends = [served.seen.ended[each["id"]] for each in (body, second)]
        assert [end.error.code for end in ends if isinstance(end, Failed)] == ["unauthenticated"] * 2


async def test_a_secret_of_ones_own_is_good_beyond_the_process() -> None:
    tokens = []
    for _ in range(2):
        async with keyed(with_keys(secret=Secret(SECRET))) as (served, client):
            url = (await created(client))["events_url"]
            tokens.append(Capabilities(SECRET).rights(served.only.id, url.partition("access=")[2]))
    assert tokens == [("read",), ("read",)]


async def test_while_access_is_open_urls_carry_nothing_and_a_token_is_ignored() -> None:
    async with serving() as served, served.client() as client:
        body = await created(client)
        assert body["events_url"] == f"/v1/streams/{body['id']}/events"
        assert body["cancel_url"] == body["url"]
        assert (await client.get(f"{body['url']}?access=whatever")).status_code == 200
        assert served.only.id == body["id"]
