"""Both Node clients read, reconnect with the last id, stop when told, and stop for good where they should."""

import pytest

from tests.fakes.provider import Provider
from tests.fakes.script import EVENT_STREAM, Body, Cut, End, Gate, Head, Reply
from tests.live.node_clients import Client, node_client

pytestmark = pytest.mark.needs("node")
CLIENTS: list[Client] = ["eventsource", "fetch_event_source"]


@pytest.fixture
async def url(provider: Provider) -> str:
    return f"{provider.base_url}/chat/completions"


def event(number: int, kind: str = "delta") -> Body:
    return Body(f'data: {{"type":"{kind}"}}\nid: {number}\n\n'.encode())


@pytest.mark.parametrize("client", CLIENTS)
async def test_it_reconnects_with_the_last_id_and_stops_at_the_terminal_event(
    provider: Provider, url: str, client: Client
) -> None:
    provider.script(Head(), Body(b"retry: 1\n"), event(1), event(2), Cut())
    provider.script(Head(), event(3), event(4, "finished"), End())
    async with node_client(client, url, method="POST", headers={"X-Key": "k"}, body={"prompt": "hi"}) as node:
        lines = await node.until_end()
    assert [line["open"] for line in lines if "open" in line] == [200, 200]
    assert [(line["id"], line["type"]) for line in lines if "id" in line] == [
        ("1", "message"),
        ("2", "message"),
        ("3", "message"),
        ("4", "message"),
    ]
    assert lines[-1] == {"end": "told", "status": 200}
    assert [request.headers.get("last-event-id") for request in provider.requests] == [None, "2"]
    assert [request.json for request in provider.requests] == [{"prompt": "hi"}, {"prompt": "hi"}]
    assert provider.requests[1].headers["x-key"] == "k"


@pytest.mark.parametrize("client", CLIENTS)
async def test_204_after_the_end_closes_it_for_good(provider: Provider, url: str, client: Client) -> None:
    provider.script(Head(), Body(b"retry: 1\n"), event(1, "finished"), End())
    provider.script(Reply(status=204))
    async with node_client(client, url, method="POST", body={}, stopOn=[]) as node:
        lines = await node.until_end()
    assert (lines[-1]["end"], lines[-1]["status"]) == ("closed", 204)
    assert len(provider.requests) == 2


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_wrong_content_type_closes_it_for_good(provider: Provider, url: str, client: Client) -> None:
    provider.script(Head(headers={**EVENT_STREAM, "Content-Type": "text/html"}), End())
    async with node_client(client, url, method="POST", body={}) as node:
        lines = await node.until_end()
    assert (lines[-1]["end"], lines[-1]["status"]) == ("closed", 200)
    assert "content" in lines[-1]["message"].lower()


async def test_named_events_are_heard_when_asked_for(provider: Provider, url: str) -> None:
    provider.script(Head(), Body(b"event: penstock.finished\ndata: x\n\n"), End())
    name = "penstock.finished"
    async with node_client("eventsource", url, method="POST", body={}, names=[name], stopOn=[name]) as node:
        lines = await node.until_end()
    assert lines[1] == {"id": "", "type": name, "data": "x"}


async def test_a_hidden_tab_aborts_and_asks_again_when_shown(provider: Provider, url: str) -> None:
    gate = Gate()
    provider.script(Head(), event(1), gate, End())
    provider.script(Head(), event(2, "finished"), End())
    async with node_client("fetch_event_source", url, method="POST", body={}) as node:
        assert await node.next_line() == {"open": 200}
        assert (await node.next_line())["id"] == "1"
        node.tab("hide")
        await provider.connections[0].peer_gone.wait()
        node.tab("show")
        lines = await node.until_end()
    assert lines[-1] == {"end": "told", "status": 200}
    assert [request.headers.get("last-event-id") for request in provider.requests] == [None, "1"]


async def test_a_script_that_fails_tells_its_last_words(url: str) -> None:
    async with node_client("eventsource", "not a url") as node:
        with pytest.raises(EOFError, match="invalid or illegal string"):
            await node.next_line()
