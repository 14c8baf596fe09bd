"""A provider that vanishes in mid-answer without a word: run in a network namespace of its own, whose loopback it cuts.

`python -m tests.faults.vanished_provider` prints what became of the answer, and what stood by as the network went.
"""

import asyncio
import json

from penstock.sources import http_connection
from penstock.sources.openai_http import OpenAIProvider
from penstock.testing.script import Gate, Hang, Head, text
from penstock.testing.upstream import Provider
from tests.faults.partition import network
from tests.sources.asking import ask, heard
from tests.sources.asking import text as text_of


async def main() -> dict[str, object]:
    network("up")
    http_connection.KEEPALIVE = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1}
    async with Provider().listening() as provider:
        gate = Gate()
        provider.script(Head(), text("half"), gate, Hang())
        source = OpenAIProvider(provider.base_url).source("any")
        answer = asyncio.ensure_future(heard(ask(source)))
        await gate.reached.wait()
        network("down")
        said, broken = await answer
        network("up")
        return {"said": text_of(said), "code": broken.fault.code if broken is not None else ""}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
