"""The client behind `chat` and `streams`: one question, one run, whatever happens to the connection."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from penstock.cli.client import Client, Event, ServerRefused, Transport, Turn, Unreachable, connected
from tests.cli.serving import Served, starting
from tests.fakes.cutting_proxy import CuttingProxy, How, Plan

TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Say something long."}]}


def text_of(events: Sequence[Event]) -> str:
    """The text of every part, so that reasoning counts too."""
    return "".join(event["text"] for event in events if event["type"] == "delta")


async def told(turn: Turn) -> list[Event]:
    return [event async for event in turn.events()]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_turn_tells_a_run_from_its_start_to_its_last_word(client: Client, transport: Transport) -> None:
    turn = Turn(client, transport, request={**ASKED, "demo": {"binary": True}})
    events = await told(turn)
    assert (events[0]["type"], events[-1]["type"]) == ("started", "finished")
    assert events[-1]["id"] == turn.cursor
    assert turn.cursor.startswith(f"{turn.stream}:")
    assert b"".join(event["data"] for event in events if event["type"] == "chunk")[:4] == b"\x89PNG"


async def test_all_transports_tell_the_same(client: Client) -> None:
    texts = {text_of(await told(Turn(client, transport, request=ASKED))) for transport in TRANSPORTS}
    assert [len(text) > 500 for text in texts] == [True]


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cut_connection_loses_nothing_repeats_nothing_and_begins_nothing_twice(
    quick: Served, client: Client, transport: Transport, how: How
) -> None:
    whole = text_of(await told(Turn(client, transport, request=ASKED)))
    # Before the answer, in its head, in its first event, in the middle of it, and twice in a row.
    for cuts in ((0,), (60,), (500,), (2_000,), (5_000, 1_000, 1_000)):
        plans = [Plan(cut_after=cut, how=how) for cut in cuts]
        before = len(await client.streams())
        async with CuttingProxy(quick.port, plans=plans).listening() as proxy, connected(proxy.url) as cut:
            events = await told(Turn(cut, transport, request=ASKED))
            again = [event for event in events if event["type"] == "reconnecting"]
        assert (len(again), text_of(events), events[-1]["type"]) == (len(cuts), whole, "finished"), cuts
        assert len(await client.streams()) == before + 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancelled_turn_ends_with_that_word(client: Client, transport: Transport) -> None:
    turn = Turn(client, transport, request={**ASKED, "demo": {"rate": 1, "tokens": 1000}})
    kinds = []
    async for event in turn.events():
        kinds.append(event["type"])
        if event["type"] == "opened":
            await turn.cancel()
    assert kinds[-2:] == ["closed", "cancelled"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_run_that_fails_says_why(client: Client, transport: Transport) -> None:
    events = await told(Turn(client, transport, request={**ASKED, "demo": {"drop_after": 5}}))
    assert (events[-1]["type"], events[-1]["error"]["code"]) == ("failed", "provider_truncated")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refusal_is_the_servers_own_words(client: Client, transport: Transport) -> None:
    with pytest.raises(ServerRefused, match="no model is called 'nope'") as refused:
        await told(Turn(client, transport, request={**ASKED, "model": "nope"}))
    assert refused.value.code == "unknown_model"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_ended_run_can_be_read_from_the_start_and_has_nothing_after_its_end(
    client: Client, transport: Transport
) -> None:
    first = Turn(client, "sse", request=ASKED)
    whole = text_of(await told(first))
    again = Turn(client, transport, stream=first.stream)
    assert text_of(await told(again)) == whole
    assert await told(again) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_where_nobody_listens_the_way_out_is_named(transport: Transport) -> None:
    async with connected("http://127.0.0.1:1") as nobody:
        with pytest.raises(Unreachable, match="no server answers at http://127"):
            await told(Turn(nobody, transport, request=ASKED))
        with pytest.raises(Unreachable, match="no server answers"):
            await nobody.streams()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "localhost:8420", "ftp://127.0.0.1", "http://", "http://a:b", "http://a?b"]
)
async def test_what_is_no_url_is_called_so(url: str) -> None:
    with pytest.raises(Unreachable, match=r"is no URL of a server; write it like http"):
        async with connected(url):
            raise AssertionError


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "502 Bad Gateway"])
async def test_another_program_is_recognized(transport: Transport, status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode())
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        connected(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as other,
    ):
        with pytest.raises(Unreachable, match=r"penstock server|takes no WebSocket"):
            await told(Turn(other, transport, request=ASKED))
        with pytest.raises(Unreachable, match=r"penstock server"):
            await other.streams()


async def test_a_server_that_is_gone_for_good_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.client.PATIENCE", 0.0)
    events: list[Event] = []

    async def read_until_it_is_killed(turn: Turn) -> None:
        async for event in turn.events():
            events.append(event)
            if event["type"] == "opened":
                served.process.kill()
                served.process.wait()

    with starting(tmp_path, code=-signal.SIGKILL) as served:
        await served.ready()
        async with connected(served.url) as client:
            turn = Turn(client, "sse", request={**ASKED, "demo": {"rate": 1, "tokens": 1000}})
            with pytest.raises(Unreachable, match="was lost and could not be taken up again"):
                await read_until_it_is_killed(turn)
    assert events[-1]["type"] in ("opened", "delta")
