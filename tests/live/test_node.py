"""The EventSource packages of npm under Node: cut at every byte of a frame, hidden tabs, and never a second generation."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from penstock.config.bounds import Bounds
from penstock.config.model import Config
from penstock.config.units import Bytes
from penstock.core.cursor import parse_cursor
from tests.fakes.cutting_proxy import CuttingProxy, Plan
from tests.live.node_clients import Client, NodeClient, node_client
from tests.server.reading import PROMPT, detached
from tests.serving import Served, configured, serving

pytestmark = pytest.mark.needs("node")

CLIENTS: list[Client] = ["eventsource", "fetch_event_source"]
WORDS = [f"{number} 世界\n" for number in range(220)]
SWEEP = [Plan(640), *(Plan(480 + at, "rst" if at % 3 == 0 else "fin") for at in range(100))]
"""The first connection gets as far as the first delta, every later one a frame further and into the next. A frame is shorter than
the sweep is wide, so the cuts fall on each of its bytes: between `data:` and `id:`, before the blank line, anywhere."""


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    """Quick to be found again; and every delta a frame of its own."""
    unmerged = Config(bounds=Bounds(merge_above=Bytes(1_000_000)))
    async with serving(configured(unmerged, retry_ms=1)) as server:
        yield server


def events_of(lines: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Id and value of every event among the lines of a client.

    `fetch_event_source` hears the position at the beginning of a GET as an event without data; the standard says it is none.
    """
    return [(line["id"], json.loads(line["data"])) for line in lines if line.get("data")]


def whole(events: list[tuple[str, dict[str, Any]]]) -> None:
    """Everything that was said was heard once, in order."""
    assert "".join(event["text"] for _, event in events if event["type"] == "delta") == "".join(WORDS)
    offsets = [parse_cursor(cursor).offset for cursor, _ in events]
    assert offsets == list(range(1, len(WORDS) + 5))


async def listened(node: NodeClient, count: int) -> list[str]:
    """The texts of the next so many deltas."""
    texts: list[str] = []
    while len(texts) < count:
        event = json.loads((await node.next_line()).get("data", "{}"))
        if event.get("type") == "delta":
            texts.append(event["text"])
    return texts


async def test_cut_at_every_byte_of_a_frame_nothing_is_lost_or_heard_twice(served: Served) -> None:
    async with served.client() as http:
        run = await detached(http)
    telling = await served.telling()
    telling.speak(*WORDS)
    telling.finish()
    async with CuttingProxy(served.port, plans=SWEEP).listening() as proxy:
        async with node_client("eventsource", f"{proxy.url}/v1/streams/{run}/events") as node:
            lines = await node.until_end()
        assert len(proxy.links) > len(SWEEP)
    whole(events_of(lines))


async def test_a_post_that_is_cut_between_frames_again_and_again_is_one_run(served: Served) -> None:
    """Between frames, since this client takes an id as soon as it has the line and loses the event if it is cut right there."""
    headers = {"Idempotency-Key": "one", "Content-Type": "application/json"}
    heard: list[str] = []
    async with CuttingProxy(served.port).listening() as proxy:
        url = f"{proxy.url}/v1/streams"
        async with node_client("fetch_event_source", url, method="POST", headers=headers, body=PROMPT) as node:
            telling = await served.telling()
            for number in range(20):
                telling.speak(WORDS[number])
                heard += await listened(node, 1)
                await proxy.links[-1].cut("rst" if number % 2 else "fin")
            telling.finish()
            lines = await node.until_end()
        assert len(proxy.links) == 21
    assert heard == WORDS[:20]
    assert [event["type"] for _, event in events_of(lines)] == ["closed", "finished"]
    assert len(served.source.tellings) == 1


@pytest.mark.parametrize("client", CLIENTS)
async def test_whoever_comes_back_after_the_end_is_told_to_stop(served: Served, client: Client) -> None:
    async with node_client(client, f"{served.url}/v1/chat/stream?model=scripted&prompt=speak", stopOn=[]) as node:
        telling = await served.telling()
        telling.speak("one", " two")
        telling.finish()
        lines = await node.until_end()
    deltas = [choice["delta"] for _, chunk in events_of(lines) for choice in chunk["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "one two"
    assert [line["open"] for line in lines if "open" in line] == [200, 204]
    assert (lines[-1]["end"], lines[-1]["status"]) == ("closed", 204)
    assert len(served.source.tellings) == 1


@pytest.mark.parametrize("keyed", [True, False], ids=["with-key", "with-last-id"])
async def test_a_tab_that_is_hidden_and_shown_asks_for_no_second_answer(served: Served, keyed: bool) -> None:
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": "one"} if keyed else {})}
    url = f"{served.url}/v1/streams"
    async with node_client("fetch_event_source", url, method="POST", headers=headers, body=PROMPT) as node:
        telling = await served.telling()
        telling.speak("one", " two")
        assert await listened(node, 2) == ["one", " two"]
        node.tab("hide")
        await served.attended(0)
        telling.speak(" three")
        node.tab("show")
        assert await listened(node, 1) == [" three"]
        telling.speak(" four")
        telling.finish()
        assert [event.get("text") for _, event in events_of(await node.until_end())] == [" four", None, None]
    assert len(served.source.tellings) == 1


async def test_a_tab_hidden_before_the_first_token_comes_back_to_its_run_by_its_key(served: Served) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "one"}
    url = f"{served.url}/v1/chat/completions"
    async with node_client("fetch_event_source", url, method="POST", headers=headers, body=PROMPT) as node:
        telling = await served.telling()
        await served.attended(1)
        node.tab("hide")
        await served.attended(0)
        node.tab("show")
        await served.attended(1)
        telling.speak("one")
        telling.finish()
        lines = await node.until_end()
    chunks = [json.loads(line["data"]) for line in lines if line.get("data", "[DONE]") != "[DONE]"]
    assert "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]) == "one"
    assert lines[-2]["data"] == "[DONE]"
    assert len(served.source.tellings) == 1
