"""Clients that are gone without having said so: the network between is cut, or the client's process hangs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from penstock.config.bounds import TimeLimits
from penstock.config.model import Config
from penstock.config.units import Seconds
from tests.faults import partition
from tests.faults.reading import SMALL, WAYS, Reader, Way, line
from tests.serving import configured, serving
from tests.tools import ROOT
from tests.waiting import until

SOCKET_CLIENT = """
import json, sys
from websockets.sync.client import connect
with connect(sys.argv[1], proxy=None, compression=None) as socket:
    socket.send(json.dumps({"type": "start", "ref": "1", "request": {"prompt": "x"}}))
    print(socket.recv(), flush=True)
    for message in socket:
        print(message, flush=True)
"""


@pytest.fixture(scope="module")
def parted() -> dict[str, dict[str, list[str]]]:
    """What was noticed when the network went away from under four clients."""
    command = [*partition.UNSHARE, *partition.PROGRAM]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return told


@pytest.mark.needs("namespaces")
def test_a_network_that_comes_back_in_time_has_lost_nothing(parted: dict[str, dict[str, list[str]]]) -> None:
    assert parted["healed"]["texts"] == ["one two "] * len(WAYS)


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("when", ["speaking", "silent"])
def test_a_client_without_a_network_is_given_up_and_comes_back_to_the_rest(
    parted: dict[str, dict[str, list[str]]], when: str
) -> None:
    assert parted[when]["left"] == ["left"] * len(WAYS)
    assert parted[when]["texts"] == ["one two "] * len(WAYS)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives up unacknowledged data on request")
@pytest.mark.parametrize("way", WAYS)
async def test_the_kernel_gives_up_on_data_that_nobody_takes(way: Way) -> None:
    config = Config(limits=TimeLimits(stall=Seconds(3600)))
    async with (
        serving(configured(config, heartbeat=Seconds(3600)), patience=1) as served,
        line(served.url, Reader(way), receive_buffer=SMALL),
    ):
        (await served.telling()).flood("word " * 200, 1000)
        await until("the reader is gone", lambda: served.seen.left == [(served.only.id, "left")])


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the client is stopped by a signal")
async def test_a_websocket_whose_client_hangs_is_closed_by_its_pings() -> None:
    async with serving() as served:
        command = [sys.executable, "-c", SOCKET_CLIENT, served.ws_url]
        client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert client.stdout is not None
        try:
            handle = await served.attended(1)
            client.send_signal(signal.SIGSTOP)
            stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            await until("the client hangs", lambda: os.waitid(os.P_PID, client.pid, stopped) is not None)
            served.later(20)
            (connection,) = served.host.server_state.connections
            pinging: Any = connection
            await until("its kernel has the ping", lambda: not pinging._waiting())
            served.later(38)
            assert served.seen.dropped == []
            served.later(40)
            assert served.seen.dropped == ["ping_timeout"]
            await until("the reader is gone", lambda: served.seen.left == [(handle.id, "left")])
            await until("its connection too", lambda: not served.host.server_state.connections)
        finally:
            client.send_signal(signal.SIGCONT)
            client.kill()
            await client.communicate()
