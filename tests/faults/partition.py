"""Takes the network away from under living connections: run in a network namespace of its own, whose loopback it may cut.

`python -m tests.faults.partition` prints one JSON object of what the server and its clients noticed.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack

import msgspec

from penstock.config.bounds import TimeLimits
from penstock.config.model import Config
from penstock.config.units import Seconds
from tests.faults.reading import WAYS, Line, Reader, line
from tests.serving import Served, configured, serving
from tests.waiting import until

PROGRAM = (sys.executable, "-m", "tests.faults.partition")
UNSHARE = ("unshare", "--map-root-user", "--net")


def network(state: str) -> None:
    """Connect or cut the namespace's loopback."""
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


async def lines(served: Served, stack: AsyncExitStack) -> list[Line]:
    """One reader on each transport, each of a run of its own that has said `one `."""
    reading = []
    for number, way in enumerate(WAYS):
        reading.append(await stack.enter_async_context(line(served.url, Reader(way))))
        (await served.telling(number)).speak("one ")
        await reading[-1].until("one ")
    return reading


async def healed(served: Served) -> dict[str, object]:
    """The network goes and comes back before anybody gives up: nothing is lost, and nobody has to come back."""
    async with AsyncExitStack() as stack:
        reading = await lines(served, stack)
        network("down")
        for telling in served.source.tellings:
            telling.speak("two ")
            telling.finish()
        await until("everything is said", lambda: len(served.seen.ended) == len(WAYS))
        network("up")
        for each in reading:
            await each.to_the_end()
        return {"texts": [each.reader.text for each in reading]}


async def gone(served: Served, *, speaking: bool) -> dict[str, object]:
    """The network goes and stays away until every client was given up; then they come back with what they have."""
    readers: list[Reader] = []
    async with AsyncExitStack() as stack:
        reading = await lines(served, stack)
        readers += [each.reader for each in reading]
        network("down")
        if speaking:
            for telling in served.source.tellings:
                telling.speak("two ")
        await until("every client was given up", lambda: len(served.seen.left) == len(WAYS), ceiling=60)
        await until("no connection is left", lambda: not served.host.server_state.connections)
        left = sorted(reason for _, reason in served.seen.left)
        network("up")
    if not speaking:
        for telling in served.source.tellings:
            telling.speak("two ")
    for telling in served.source.tellings:
        telling.finish()
    for each in readers:
        async with line(served.url, each) as back:
            await back.to_the_end()
    return {"left": left, "texts": [each.text for each in readers]}


async def main() -> dict[str, object]:
    network("up")
    limits = TimeLimits(stall=Seconds(3600))
    config = configured(msgspec.structs.replace(Config(), limits=limits), heartbeat=Seconds(3600))
    # WebSocket pings are another guard, with a test of their own.
    async with serving(config) as served:
        told: dict[str, object] = {"healed": await healed(served)}
    for name, speaking in (("speaking", True), ("silent", False)):
        async with serving(config, patience=1) as served:
            told[name] = await gone(served, speaking=speaking)
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
