"""slowhttptest against us: slow heads, slow bodies, slow readers. It gives up when it has no connection left."""

import asyncio
from typing import Any

import pytest

from penstock.config.units import Seconds
from tests.serving import configured, serving

FEW = 30

WAYS = {
    "slow heads": (["-H"], "/healthz", "head_timeout"),
    "slow bodies": (["-B", "-s", "4096"], "/v1/streams", "body_timeout"),
}


@pytest.mark.needs("slowhttptest")
@pytest.mark.parametrize(("how", "path", "cause"), WAYS.values(), ids=WAYS)
async def test_slow_clients_are_all_let_go(how: list[str], path: str, cause: str) -> None:
    # That one limit alone: the heads of slow bodies take as long as the machine lets them.
    limit: dict[str, Any] = {cause: Seconds(0.5)}
    async with serving(configured(**limit), real_time=True) as served, served.client() as client:
        told = await slowhttptest(*how, "-i", "60", "-l", "90", "-u", served.url + path)
        assert "No open connections left" in told
        assert set(served.seen.dropped) == {cause}
        assert len(served.seen.dropped) == FEW
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.needs("slowhttptest")
async def test_slow_readers_keep_nobody_waiting() -> None:
    async with serving(configured(keep_alive=Seconds(0.5)), real_time=True) as served, served.client() as client:
        reading = ["-X", "-l", "5", "-w", "10", "-y", "20", "-n", "1", "-z", "16", "-k", "3", "-p", "1"]
        slow = asyncio.ensure_future(slowhttptest(*reading, "-u", served.url + "/v1/models"))
        while not slow.done():
            # On a connection of its own: one that is kept might be closed in the moment it is used again.
            assert (await client.get("/healthz", headers={"connection": "close"})).status_code == 200
            await asyncio.sleep(0.05)
        assert "Exit status" in await slow


async def slowhttptest(*arguments: str) -> str:
    """What it said at its end."""
    command = ["slowhttptest", "-c", str(FEW), "-r", str(FEW), *arguments]
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await running.communicate()
    return said.decode()
