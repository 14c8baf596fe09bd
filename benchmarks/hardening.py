"""What the bounds against slow, dead and numerous clients do: memory of stopped readers, gaps beside them, when the dead are gone,
how fast a full server refuses."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from benchmarks import harness
from benchmarks.asking import live
from benchmarks.rows import Row
from benchmarks.scenarios import Scenario
from benchmarks.servers import TRANSPORTS, in_process
from benchmarks.sitting import Sitting, trouble
from benchmarks.source import order

PATIENCE = 90.0
ENDLESS = 1_000_000_000
UNSHARE = ("unshare", "--map-root-user", "--net")
VANISH = (sys.executable, "-m", "benchmarks.vanish")


def p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]


def asked(port: int, ordered: str, *, receive_buffer: int | None = None) -> socket.socket:
    """A connection that has asked for this stream as SSE, and read nothing of it."""
    reader = socket.socket()
    if receive_buffer is not None:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    reader.settimeout(PATIENCE)
    reader.connect(("127.0.0.1", port))
    body = json.dumps({"messages": [{"role": "user", "content": ordered}]})
    head = f"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    reader.sendall(f"{head}\r\n\r\n{body}".encode())
    return reader


def gaps(port: int, *, tokens: int, rate: float) -> list[float]:
    """Milliseconds between two pieces of a paced stream, as they arrive."""
    came = []
    with asked(port, order(tokens=tokens, rate=rate)) as reader:
        piece = b""
        while b'"type":"finished"' not in piece:
            piece = piece[-100:] + reader.recv(1 << 16)
            came.append(time.monotonic())
    return [1000 * (after - before) for before, after in itertools.pairwise(came)]


def stopped(sitting: Sitting, *, readers: int, tokens: int, rate: float) -> Row:
    """Readers of endless answers of their own that read nothing, and the gaps of a paced stream before and beside them."""
    with contextlib.ExitStack() as held, sitting.running(in_process("penstock-stopped", TRANSPORTS[0])) as running:
        alone = gaps(running.port, tokens=tokens, rate=rate)
        before_kib = harness.memory_kib(running.pids, "VmRSS")
        for _ in range(readers):
            held.enter_context(asked(running.port, order(tokens=ENDLESS), receive_buffer=4096))
        beside = gaps(running.port, tokens=tokens, rate=rate)
        grown_kib = harness.memory_kib(running.pids, "VmHWM") - before_kib
    columns = {
        "KiB per stopped reader": [grown_kib / readers],
        "gap p99 ms alone": [p99(alone)],
        "gap p99 ms beside them": [p99(beside)],
    }
    return Row(group="hardening", label=f"{readers} stopped readers of endless answers", columns=columns)


def slow_heads(sitting: Sitting, *, heads: int) -> Row:
    """Connections that begin a head and go no further."""
    with contextlib.ExitStack() as held, sitting.running(in_process("penstock-heads", TRANSPORTS[0])) as running:
        sockets = []
        for _ in range(heads):
            sock = held.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nX-Slow: ")
            sockets.append(sock)
        began = time.monotonic()
        for sock in sockets:
            sock.settimeout(max(0.1, PATIENCE - (time.monotonic() - began)))
            with contextlib.suppress(TimeoutError, ConnectionError):
                while sock.recv(4096):
                    pass
        seconds = time.monotonic() - began
    fault = "" if seconds < PATIENCE else f"some were still there after {PATIENCE:g} s"
    return Row(group="hardening", label=f"{heads} slow heads", columns={"s until all are gone": [seconds]}, fault=fault)


def vanished(*, clients: int) -> Row:
    """Clients whose network is cut, some in mid-answer and some in a silence; in a network namespace of its own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        raise harness.Unavailable("needs unshare and ip: apt-get install util-linux iproute2")
    done = subprocess.run([*UNSHARE, *VANISH, str(clients)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise harness.Unavailable(f"clients could not be made to vanish: {done.stderr[-500:]}")
    columns = {"s until all are gone": [float(done.stdout)]}
    return Row(group="hardening", label=f"{clients} vanished clients", columns=columns)


def overload(sitting: Sitting, *, streams: int, rate: float, seconds: float, pressing: float) -> Row:
    """A server that holds as many live runs as it may for so many seconds, and is asked for more without a pause for `pressing`."""
    full = in_process("penstock-full", TRANSPORTS[0])
    full = msgspec.structs.replace(full, env={**full.env, "PENSTOCK_SERVER__MAX_RUNS": str(streams)})
    refusals: list[float] = []
    others: list[int] = []
    over = threading.Event()

    def insist(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        body = json.dumps({"messages": [{"role": "user", "content": order(tokens=3)}]})
        while not over.is_set():
            began = time.monotonic()
            connection.request("POST", "/v1/streams", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 503 and answer.headers["Retry-After"]:
                refusals.append(1000 * (time.monotonic() - began))
            elif time.monotonic() < full_until:
                others.append(answer.status)
        connection.close()

    with sitting.running(full) as running, ThreadPoolExecutor(3) as pool:
        scenario = Scenario(
            title="goodput",
            streams=streams,
            tokens=int(rate * seconds),
            rate=rate,
            settle_ms=1000,
            limit_ms=int(4000 * seconds) + 20_000,
        )
        # Their pace keeps the streams from ending sooner.
        full_until = time.monotonic() + seconds
        loading = pool.submit(
            harness.run_load,
            running.programs,
            url=running.url,
            body=running.server.body,
            end=running.server.end,
            headers=running.server.headers,
            scenario=scenario,
            cpu_of=running.pids,
            cpu=sitting.place.load,
        )
        while live(running.port) < streams and time.monotonic() < full_until:
            time.sleep(0.05)
        insisting = [pool.submit(insist, running.port) for _ in range(2)]
        time.sleep(pressing)
        over.set()
        for each in insisting:
            each.result()
        result = loading.result()
    steady = result.steady or result.whole
    fault = trouble(result) or (f"{len(others)} were not refused but {set(others)}" if others else "")
    columns = {
        "refusal p99 ms": [p99(refusals)],
        "refusals per second": [len(refusals) / pressing],
        "goodput %": [100 * steady.tokens / steady.seconds / (streams * rate)],
    }
    return Row(group="hardening", label=f"{streams} streams, and no more", columns=columns, fault=fault)


def bounds(
    sitting: Sitting, *, readers: int, tokens: int, rate: float, streams: int, seconds: float, pressing: float
) -> list[Row]:
    """What takes no longer than it is told to."""
    rows = [
        stopped(sitting, readers=readers, tokens=tokens, rate=rate),
        overload(sitting, streams=streams, rate=20.0, seconds=seconds, pressing=pressing),
    ]
    for row in rows:
        sitting.say(f"hardening, {row.label}: {row.columns} {row.fault}")
    return rows


def deadlines(sitting: Sitting, *, heads: int, clients: int) -> list[Row]:
    """What takes as long as the server's deadlines are."""
    rows = [slow_heads(sitting, heads=heads), vanished(clients=clients)]
    for row in rows:
        sitting.say(f"hardening, {row.label}: {row.columns} {row.fault}")
    return rows


def hardening(sitting: Sitting) -> list[Row]:
    """All of it, one after the other."""
    return [
        *bounds(sitting, readers=50, tokens=1500, rate=200.0, streams=200, seconds=12.0, pressing=9.5),
        *deadlines(sitting, heads=200, clients=8),
    ]
