"""A run belongs to its key: for another one there is no difference between it and a run that never was, on any path."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from penstock.core.cursor import new_run_id
from tests.server.keyed import ALICE, BOB, ask, bearer, keyed, operations, subprotocol
from tests.server.reading import PROMPT, websocket
from tests.serving import Served
from tests.waiting import until

NAMED = [(method, path) for method, path in operations() if "{stream}" in path]
"""Paths whose run stands in them."""
RESUMING = [(method, path) for method, path in operations() if path.startswith(("/v1/streams", "/v1/chat", "/api"))]
"""Paths that may be given a cursor, whatever they do with it."""


@pytest.fixture
async def both() -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    async with keyed() as pair:
        yield pair


async def alices(served: Served, client: httpx2.AsyncClient, number: int = 0) -> str:
    """A run of Alice's that is speaking."""
    headers = {**bearer(ALICE), "accept": "application/json"}
    run: str = (await client.post("/v1/streams", json=PROMPT, headers=headers)).json()["id"]
    telling = await served.telling(number)
    telling.speak("for Alice alone")
    await until("it was said", lambda: served.run(run).log.last == 3)
    return run


def bytes_of(answer: httpx2.Response, run: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer, with the run that was asked for taken out of it."""
    return answer.status_code, sorted(answer.headers.items()), answer.content.replace(run.encode(), b"RUN")


@pytest.mark.parametrize(("method", "path"), NAMED, ids=lambda value: value)
async def test_another_key_cannot_tell_a_run_from_one_that_never_was(
    both: tuple[Served, httpx2.AsyncClient], method: str, path: str
) -> None:
    served, client = both
    theirs, none = await alices(served, client), new_run_id()
    headers = {**bearer(BOB), "x-request-id": "the-same"}
    for query in ("", "?purge=1", "?wait=1", "?dialect=plain"):
        answers = [
            bytes_of(await ask(client, method, path.replace("{stream}", run) + query, headers=headers), run)
            for run in (theirs, none)
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] in (400, 404)
        assert b"Alice" not in answers[0][2]
    assert served.run(theirs).pump.terminal is None


@pytest.mark.parametrize(("method", "path"), RESUMING, ids=lambda value: value)
async def test_a_cursor_of_anothers_run_is_that_of_none(
    both: tuple[Served, httpx2.AsyncClient], method: str, path: str
) -> None:
    if path.endswith("/ws"):
        return  # a socket takes no cursor in its URL; its attach is below
    served, client = both
    theirs, none = await alices(served, client), new_run_id()
    answers = []
    for run in (theirs, none):
        cursor = served.run(theirs).cursor(1).replace(theirs, run)
        headers = {**bearer(BOB), "last-event-id": cursor, "x-request-id": "the-same"}
        answer = await ask(client, method, path.replace("{stream}", run), headers=headers)
        answers.append(bytes_of(answer, run))
    assert answers[0] == answers[1]
    assert b"Alice" not in answers[0][2]
    assert len(served.source.tellings) == 1


async def test_on_a_shared_stream_one_run_of_another_spoils_it_as_an_unknown_one_does(
    both: tuple[Served, httpx2.AsyncClient],
) -> None:
    served, client = both
    theirs, none = await alices(served, client), new_run_id()
    created = await client.post("/v1/streams", json=PROMPT, headers={**bearer(BOB), "accept": "application/json"})
    own = created.json()["id"]
    headers = {**bearer(BOB), "x-request-id": "the-same"}
    for streams in ("{}", "{},own", "own,{}", "{}:a1:1,own"):
        asked = streams.replace("own", own)
        answers = [
            bytes_of(await client.get(f"/v1/streams/events?streams={asked.format(run)}", headers=headers), run)
            for run in (theirs, none)
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


async def test_a_list_holds_ones_own_runs_alone(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    run = await alices(served, client)
    assert (await client.get("/v1/streams", headers=bearer(BOB))).json() == {"streams": []}
    listed = (await client.get("/v1/streams", headers=bearer(ALICE))).json()["streams"]
    assert [each["id"] for each in listed] == [run]


async def test_an_idempotency_key_is_known_to_its_owner_alone(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    headers = {"accept": "application/json", "idempotency-key": "the same"}
    runs = []
    for key in (ALICE, BOB, ALICE):
        answer = await client.post("/v1/streams", json=PROMPT, headers={**headers, **bearer(key)})
        assert answer.status_code == 201
        runs.append(answer.json()["id"])
    assert runs[0] == runs[2] != runs[1]
    other = {**PROMPT, "messages": [{"role": "user", "content": "something else"}]}
    for key, status in ((ALICE, 422), (BOB, 422)):
        answer = await client.post("/v1/streams", json=other, headers={**headers, **bearer(key)})
        assert answer.status_code == status
    assert [served.run(run).principal.name for run in runs[:2]] == ["alice", "bob"]


COMMANDS: dict[str, dict[str, Any]] = {
    "attach": {},
    "attach after a cursor": {"after": "{}:a1:1"},
    "attach in another dialect": {"dialect": "openai-chat"},
    "detach": {},
    "cancel": {},
    "input": {"body": "hello"},
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_socket_of_another_key_cannot_tell_it_either(
    both: tuple[Served, httpx2.AsyncClient], name: str
) -> None:
    served, client = both
    theirs, none = await alices(served, client), new_run_id()
    async with websocket(served.ws_url, additional_headers=bearer(BOB)) as socket:
        answers = []
        for run in (theirs, none):
            more = {key: value.format(run) for key, value in COMMANDS[name].items()}
            answer = await socket.ask(type=name.partition(" ")[0], stream=run, ref="1", **more)
            answers.append(json.dumps(answer, sort_keys=True).replace(run, "RUN"))
    assert answers[0] == answers[1]
    assert json.loads(answers[0])["code"] == "stream_not_found"
    assert served.run(theirs).pump.terminal is None


async def test_two_sockets_of_one_key_share_its_runs(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    run = await alices(served, client)
    async with (
        websocket(served.ws_url, additional_headers=bearer(ALICE)) as first,
        websocket(served.ws_url, subprotocols=["penstock.v1", subprotocol(ALICE)]) as second,
    ):
        for socket in (first, second):
            assert (await socket.ask(type="attach", stream=run))["type"] == "ok"
            assert [await socket.next() for _ in range(3)][2]["text"] == "for Alice alone"
        assert (await second.ask(type="cancel", stream=run, ref="c"))["type"] in ("ok", "closed", "cancelled")
        assert (await first.until("cancelled"))[-1]["by"] == "client"
