"""The figures that are no scenario: how fast a cancel reaches the provider, and how fast the program starts."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import time
from collections.abc import Callable

import msgspec
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from benchmarks.harness import Running, Unavailable, Upstream, memory_kib
from benchmarks.servers import CHAT_BODY, NATIVE_BODY, SOCKET_BODY

SAMPLES = 20
LONG = "bench(tokens=1000000 rate=50 first_ms=0 pad=0 stream=1)"
PATIENCE = 10.0


class Figure(msgspec.Struct, frozen=True):
    """Samples of one figure, in `unit`."""

    name: str
    unit: str
    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def _ask(running: Running, path: str, template: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Opens a long stream and reads its first token."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    body = template.replace("{order}", LONG)
    connection.request("POST", path, body, {"Content-Type": "application/json", "Accept": "text/event-stream"})
    response = connection.getresponse()
    if response.status != 200:
        raise Unavailable(f"POST {path} gave {response.status}: {response.read(300)!r}")
    while b"^" not in (line := response.readline()):
        if not line:
            raise Unavailable(f"POST {path} ended before its first token")
    return connection, response


def _until_aborted(upstream: Upstream, before: int, since: float) -> float:
    """Milliseconds from `since` (`time.monotonic`) until the upstream saw its peer leave."""
    while time.monotonic() - since < PATIENCE:
        stats = upstream.stats()
        if stats.aborted > before:
            return stats.last_abort_us / 1e3 - since * 1e3
        time.sleep(0.001)
    raise Unavailable(f"a cancelled stream still ran at the provider after {PATIENCE:g} s")


def _leave(running: Running) -> float:
    """The client closes its connection."""
    before = running.upstream.stats().aborted
    connection, response = _ask(running, "/v1/chat/completions", CHAT_BODY % "openai/mock")
    since = time.monotonic()
    response.close()
    connection.close()
    return _until_aborted(running.upstream, before, since)


def _delete(running: Running) -> float:
    """Another connection asks for the end of the stream."""
    before = running.upstream.stats().aborted
    connection, response = _ask(running, "/v1/streams", NATIVE_BODY)
    other = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    other.connect()
    since = time.monotonic()
    other.request("DELETE", f"/v1/streams/{response.headers['Penstock-Stream-Id']}")
    milliseconds = _until_aborted(running.upstream, before, since)
    other.close()
    response.close()
    connection.close()
    return milliseconds


def _command(running: Running) -> float:
    """The `cancel` command of the WebSocket protocol."""
    before = running.upstream.stats().aborted
    with connect(
        f"ws://127.0.0.1:{running.port}/v1/chat/ws", subprotocols=[Subprotocol("penstock.v1")], compression=None
    ) as socket:
        socket.send(SOCKET_BODY.replace("{ref}", "1").replace("{order}", LONG))
        while b"^" not in (message := socket.recv(PATIENCE, decode=False)):
            pass
        stream = msgspec.json.decode(message)["stream"]
        since = time.monotonic()
        socket.send(msgspec.json.encode({"type": "cancel", "stream": stream}).decode())
        return _until_aborted(running.upstream, before, since)


def cancel(running: Running) -> list[Figure]:
    """Cancel to upstream closed, by each way of cancelling."""
    ways: dict[str, Callable[[Running], float]] = {
        "client leaves": _leave,
        "DELETE": _delete,
        "WebSocket cancel": _command,
    }
    return [
        Figure(f"{name} → upstream closed", "ms", [way(running) for _ in range(SAMPLES)]) for name, way in ways.items()
    ]


def _first_answer(running: Running, launched: float) -> float:
    """Seconds from the start of the process to its first answer; it took connections after `launched`."""
    began = time.monotonic() - launched
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    connection.request("GET", "/healthz")
    if (status := connection.getresponse().status) != 200:
        raise Unavailable(f"GET /healthz gave {status}")
    connection.close()
    return time.monotonic() - began


def start(running: Running) -> list[Figure]:
    """From nothing to listening and to the first answer, and the time of `--help`, five times each; the server is not
    running before or after."""
    listening, answered, resident, helped = [], [], [], []
    for _ in range(5):
        listening.append(running.launch())
        answered.append(_first_answer(running, listening[-1]))
        resident.append(memory_kib(running.pids, "VmRSS") / 1024)
        running.end()
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([running.server.command[0], "--help"], stdout=subprocess.DEVNULL, check=True)
        helped.append(time.monotonic() - began)
    return [
        Figure("start to listening", "s", listening),
        Figure("start to first answer", "s", answered),
        Figure("memory once it answers", "MiB", resident),
        Figure("`penstock --help`", "s", helped),
    ]
