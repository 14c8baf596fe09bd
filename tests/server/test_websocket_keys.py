"""The key of a WebSocket: in a header, in a subprotocol, or in the first message; and what becomes of one that is wrong or late."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penstock.auth.keyfile import changing
from penstock.config.units import Bytes, Secret
from penstock.server.transports import handshake
from tests.server.keyed import ALICE, BOB, add_key, bearer, subprotocol, with_keys
from tests.server.reading import PROMPT, Messages, websocket
from tests.serving import Served, serving
from tests.waiting import until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client of these tests is late, however slow the machine."""
    monkeypatch.setattr(handshake, "PATIENCE", 600.0)


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(with_keys()) as server:
        yield server


async def closed(socket: Messages) -> tuple[int, str]:
    """The code and reason of the close that comes next."""
    with pytest.raises(ConnectionClosed) as end:
        await socket.next()
    assert end.value.rcvd is not None
    return end.value.rcvd.code, end.value.rcvd.reason


@pytest.mark.parametrize("headers", [bearer(ALICE), {"x-api-key": ALICE}])
async def test_a_key_in_a_header_opens_the_socket(served: Served, headers: dict[str, str]) -> None:
    async with websocket(served.ws_url, additional_headers=headers) as socket:
        run = await socket.start()
        assert served.run(run).principal.name == "alice"


async def test_a_key_in_a_subprotocol_opens_the_socket_and_is_not_said_again(served: Served) -> None:
    async with websocket(served.ws_url, subprotocols=["penstock.v1", subprotocol(ALICE)]) as socket:
        assert socket.connection.subprotocol == "penstock.v1"
        assert served.run(await socket.start()).principal.name == "alice"
    async with websocket(served.ws_url, subprotocols=[subprotocol(BOB), "penstock.v1"]) as socket:
        assert socket.connection.subprotocol == "penstock.v1"
        assert served.run(await socket.start()).principal.name == "bob"


async def test_a_key_in_the_first_message_opens_the_socket(served: Served) -> None:
    async with websocket(served.ws_url, subprotocols=["penstock.v1"]) as socket:
        assert await socket.ask(type="authenticate", key=ALICE, ref="me") == {"type": "ok", "ref": "me"}
        assert served.run(await socket.start()).principal.name == "alice"


@pytest.mark.parametrize("wrong", ["' OR '1'='1", ALICE[:-1], "psk_aaaaaaaaaa_" + "0" * 49])
async def test_a_wrong_key_is_refused_wherever_it_is(served: Served, wrong: str) -> None:
    shown: tuple[dict[str, Any], ...] = (
        {"additional_headers": bearer(wrong)},
        {"subprotocols": ["penstock.v1", subprotocol(wrong)]},
    )
    for options in shown:
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(served.ws_url, **options):
                pass
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["www-authenticate"] == "Bearer"
        assert wrong.encode() not in refused.value.response.body
    async with websocket(served.ws_url) as socket:
        answer = await socket.ask(type="authenticate", key=wrong)
        assert (answer["type"], answer["code"]) == ("error", "unauthenticated")
        assert await closed(socket) == (4501, "unauthenticated")


@pytest.mark.parametrize("wrong", ["penstock.key.a", "penstock.key.", "penstock.key.!!!!"])
async def test_a_subprotocol_that_is_no_base64_is_no_key(served: Served, wrong: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(served.ws_url, subprotocols=["penstock.v1", wrong]):
            pass
    assert refused.value.response.status_code == 401


FIRSTS: dict[str, str | bytes] = {
    "a command": json.dumps({"type": "start", "ref": "1", "request": PROMPT}),
    "no JSON": "{",
    "no object": "[]",
    "no key": json.dumps({"type": "authenticate"}),
    "a number": json.dumps({"type": "authenticate", "key": 7}),
    "nothing": "",
    "bytes": b"\xff\xfe",
}


@pytest.mark.parametrize("first", FIRSTS)
async def test_another_first_message_is_the_last(served: Served, first: str) -> None:
    async with websocket(served.ws_url) as socket:
        await socket.connection.send(FIRSTS[first])
        answer = await socket.next()
        assert (answer["type"], answer["code"] in ("unauthenticated", "invalid_json", "invalid_request")) == (
            "error",
            True,
        )
        code, reason = await closed(socket)
        assert (code, reason) in ((4501, "unauthenticated"), (4500, "invalid_json"), (4500, "invalid_request"))
    assert served.runs.by_id == {}


async def test_a_refusal_after_the_handshake_is_counted_too(served: Served) -> None:
    async with websocket(served.ws_url) as socket:
        await socket.ask(type="authenticate", key="wrong")
    async with served.client(headers=bearer(ALICE)) as client:
        page = (await client.get("/metrics")).text
    counted = [line for line in page.splitlines() if "unauthenticated" in line and "/v1/chat/ws" in line]
    assert [line.rpartition(" ")[2] for line in counted] == ["1.0"]


@pytest.mark.parametrize("longest", [1, 64, 128])
async def test_a_first_message_is_as_long_as_the_setting_says(longest: int) -> None:
    setting = {"max_message_before_key": Bytes(longest * 1024)}
    key = "long-and-long-and-secret"
    message = json.dumps({"type": "authenticate", "key": key})
    async with serving(with_keys(server=setting, api_keys=Secret(f"long:{key}"))) as served:
        async with websocket(served.ws_url) as socket:
            await socket.connection.send(message.ljust(longest * 1024))
            assert (await socket.next())["type"] == "ok"
        async with websocket(served.ws_url) as socket:
            await socket.connection.send(message.ljust(longest * 1024 + 1))
            assert (await closed(socket))[0] == 1009


async def test_after_its_key_a_client_may_send_as_much_as_any(served: Served) -> None:
    large = {**PROMPT, "messages": [{"role": "user", "content": "x" * 100_000}]}
    for headers in (bearer(ALICE), {}):
        async with websocket(served.ws_url, additional_headers=headers) as socket:
            if not headers:
                await socket.ask(type="authenticate", key=ALICE)
            assert (await socket.ask(type="start", ref="1", request=large))["type"] == "started"


async def test_who_says_nothing_is_sent_away(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "PATIENCE", 0.0)
    async with websocket(served.ws_url) as socket:
        assert (await socket.next())["code"] == "unauthenticated"
        assert await closed(socket) == (4501, "unauthenticated")


async def test_who_leaves_before_its_key_leaves_nothing(served: Served) -> None:
    async with websocket(served.ws_url):
        pass
    await until("the socket is gone", lambda: not served.host.server_state.connections)


async def test_a_revoked_key_closes_its_socket_at_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.auth.keyfile.LOOK", 0.0)
    path = tmp_path / "keys.json"
    texts = [add_key(path, name) for name in ("carol", "dave")]
    async with (
        serving(with_keys(keys_file=str(path))) as served,
        websocket(served.ws_url, additional_headers=bearer(texts[0])) as carol,
        websocket(served.ws_url, additional_headers=bearer(texts[1])) as dave,
    ):
        assert (await carol.ask(type="ping"))["type"] == "pong"
        with changing(path) as keys:
            del keys[next(iter(keys))]
        answer = await carol.ask(type="ping", ref="2")
        assert (answer["code"], answer["ref"]) == ("unauthenticated", "2")
        assert await closed(carol) == (4501, "unauthenticated")
        assert (await dave.ask(type="ping"))["type"] == "pong"


async def test_a_fresh_key_of_the_same_owner_is_taken_and_anothers_is_not(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    fresh = add_key(path, "alice")
    async with (
        serving(with_keys(keys_file=str(path))) as served,
        websocket(served.ws_url, additional_headers=bearer(ALICE)) as socket,
    ):
        assert await socket.ask(type="authenticate", key=fresh, ref="f") == {"type": "ok", "ref": "f"}
        assert (await socket.ask(type="authenticate", key=BOB))["code"] == "forbidden"
        assert (await socket.ask(type="ping"))["type"] == "pong"
        assert (await socket.ask(type="authenticate", key="wrong"))["code"] == "unauthenticated"
        assert await closed(socket) == (4501, "unauthenticated")


async def test_while_access_is_open_any_key_is_taken_and_ignored() -> None:
    async with serving() as served:
        protocols = ["penstock.v1", subprotocol("whatever")]
        async with websocket(served.ws_url, additional_headers=bearer("x"), subprotocols=protocols) as socket:
            assert await socket.ask(type="authenticate", key="y") == {"type": "ok"}
            answer = await socket.ask(type="start", ref="1", request=PROMPT)
            assert set(answer) == {"type", "ref", "stream", "id"}


async def test_many_sockets_open_at_once_with_their_own_keys(served: Served) -> None:
    async def run(key: str) -> str:
        async with websocket(served.ws_url, additional_headers=bearer(key)) as socket:
            return served.run(await socket.start()).principal.name

    assert await asyncio.gather(*(run(key) for key in (ALICE, BOB) * 5)) == ["alice", "bob"] * 5
