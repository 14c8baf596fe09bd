"""The benchmarks' check on tokens: it passes what is whole and fails what is not. No time is judged here."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from benchmarks.harness import LoadResult, Programs, build, run_load, upstream
from benchmarks.scenarios import Scenario
from benchmarks.servers import CHAT_BODY, SOCKET_BODY

pytestmark = [pytest.mark.needs("cc"), pytest.mark.skipif(sys.platform != "linux", reason="the programs use epoll")]

BODY = CHAT_BODY % "mock"
TINY = Scenario(title="tiny", streams=5, tokens=20, rate=0)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return build(tmp_path_factory.mktemp("programs"))


def direct(programs: Programs, *, fault: str = "none", scenario: Scenario = TINY, end: str = "[DONE]") -> LoadResult:
    with upstream(programs, fault=fault) as provider:
        url = f"http://{provider.address}/v1/chat/completions"
        return run_load(programs, url=url, body=BODY, end=end, scenario=scenario)


def test_a_sound_run_has_every_token_once_and_in_order(programs: Programs) -> None:
    result = direct(programs)
    assert (result.started, result.finished, result.tokens) == (5, 5, 100)
    assert (result.wrong, result.failed, result.first_failure) == (0, 0, "")
    assert result.age_us.count == 100
    assert result.first_us.count == 5


def test_streams_follow_one_another_on_a_kept_connection(programs: Programs) -> None:
    scenario = Scenario(title="kept", streams=2, tokens=3, rate=0, each=4)
    with upstream(programs) as provider:
        result = run_load(programs, url=f"http://{provider.address}/", body=BODY, scenario=scenario)
        stats = provider.stats()
    assert (result.finished, result.tokens, result.wrong) == (8, 24, 0)
    assert (stats.opened, stats.finished, stats.aborted, stats.active) == (8, 8, 0, 0)


def test_padded_and_paced_tokens_arrive_as_well(programs: Programs) -> None:
    result = direct(programs, scenario=Scenario(title="paced", streams=3, tokens=5, rate=200, first_ms=5, pad=20_000))
    assert (result.finished, result.tokens, result.wrong) == (3, 15, 0)


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        ("lose", {"lost": 5, "repeated": 0, "reordered": 0, "crossed": 0}),
        ("repeat", {"lost": 0, "repeated": 5, "reordered": 0, "crossed": 0}),
        ("swap", {"lost": 0, "repeated": 0, "reordered": 5, "crossed": 0}),
        ("cross", {"lost": 5, "repeated": 0, "reordered": 0, "crossed": 5}),
    ],
)
def test_a_token_gone_wrong_is_noticed(programs: Programs, fault: str, counted: dict[str, int]) -> None:
    result = direct(programs, fault=fault)
    assert {kind: getattr(result, kind) for kind in counted} == counted


def test_a_cut_stream_has_failed(programs: Programs) -> None:
    result = direct(programs, fault="cut")
    assert (result.finished, result.failed_cut, result.failed) == (0, 5, 5)


def test_an_answer_without_its_end_mark_has_failed(programs: Programs) -> None:
    result = direct(programs, end="[NEVER SAID]")
    assert (result.finished, result.failed_end, result.wrong) == (0, 5, 0)


def test_a_refusal_is_counted_and_quoted(programs: Programs) -> None:
    with upstream(programs) as provider:
        result = run_load(programs, url=f"http://{provider.address}/", body="no order", scenario=TINY)
    assert (result.finished, result.failed_status) == (0, 5)
    assert "400 Bad Request" in result.first_failure


def test_no_listener_is_a_failure(programs: Programs) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        result = run_load(programs, url=f"http://127.0.0.1:{unheard.getsockname()[1]}/", body=BODY, scenario=TINY)
    assert (result.finished, result.failed_connect) == (0, 5)


async def _order(message: str) -> AsyncIterator[tuple[int, int]]:
    """What `load` asked for: stream and token numbers."""
    text = json.loads(message)["request"]["messages"][0]["content"]
    fields = dict(field.split("=") for field in text.removeprefix("bench(").removesuffix(")").split())
    for number in range(int(fields["tokens"])):
        yield int(fields["stream"]), number


async def _speak(socket: ServerConnection, *, last: str, pad: int) -> None:
    """Answers `start` as `penstock.v1` does: a ping in the middle, and frames of every length form."""
    async for message in socket:
        assert isinstance(message, str)
        async for stream, number in _order(message):
            text = f"^{stream}.{number}.1;" + "x" * (pad if number == 3 else number * 40)
            await socket.send(json.dumps({"type": "delta", "part": 0, "text": text}, separators=(",", ":")))
            if number == 2:
                await (await socket.ping(b"still there?"))
        await socket.send(json.dumps({"type": last, "reason": "stop"}, separators=(",", ":")))


async def _over_websocket(programs: Programs, scenario: Scenario, *, last: str, pad: int = 70_000) -> LoadResult:
    async with serve(
        lambda socket: _speak(socket, last=last, pad=pad),
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol("penstock.v1")],
        compression=None,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await asyncio.to_thread(
            run_load, programs, url=f"ws://127.0.0.1:{port}/v1/chat/ws", body=SOCKET_BODY, end="", scenario=scenario
        )


async def test_websocket_streams_are_checked_too(programs: Programs) -> None:
    scenario = Scenario(title="sockets", streams=4, tokens=10, rate=0, each=3)
    result = await _over_websocket(programs, scenario, last="finished")
    assert (result.started, result.finished, result.tokens) == (12, 12, 120)
    assert (result.wrong, result.failed, result.first_failure) == (0, 0, "")


async def test_a_failed_websocket_stream_has_failed(programs: Programs) -> None:
    result = await _over_websocket(programs, TINY, last="failed")
    assert (result.finished, result.failed_cut) == (0, 5)
    assert result.first_failure.startswith("failed")
