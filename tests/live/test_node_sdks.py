"""What holds for the SDKs for Node of whichever provider."""

import pytest

from tests.fakes.provider import Provider
from tests.fakes.script import Gate, Reply, closing, opening, text
from tests.live.node_sdk import ANTHROPIC, OPENAI, NodeSdk
from tests.serving import Served
from tests.waiting import until

pytestmark = [
    pytest.mark.needs("node"),
    pytest.mark.parametrize("sdk", [ANTHROPIC, OPENAI], ids=["anthropic", "openai"]),
]


async def test_it_tries_again_what_may_be_tried_again(served: Served, provider: Provider, sdk: NodeSdk) -> None:
    provider.script(Reply(status=503, body={"error": {"message": "busy"}}, headers={"Retry-After": "0.01"}))
    *_, end = await sdk.answered(sdk.question(served, "stream", retries=1))
    assert (end, len(provider.requests)) == ({"end": "complete"}, 2)


async def test_an_abort_stops_the_provider(served: Served, provider: Provider, sdk: NodeSdk) -> None:
    provider.script(opening(), text("one"), Gate(), closing())
    first, end = await sdk.answered(sdk.question(served, "abort"))
    assert (first, end) == ({"text": "one"}, {"end": "complete"})
    await provider.connections[0].peer_gone.wait()
    await until("the run has ended", lambda: served.only.id in served.seen.ended)
