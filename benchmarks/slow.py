"""What readers cost that have stopped reading: the memory they hold, and the CPU of the one who goes on beside them."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import asking, harness, marks
from benchmarks.fanout import EVENTS, STREAM
from benchmarks.rows import Row
from benchmarks.scenarios import Scenario
from benchmarks.servers import TRANSPORTS, in_process
from benchmarks.sitting import Sitting, trouble
from benchmarks.source import order

PATIENCE = 30.0


def stuck(port: int, run: str) -> socket.socket:
    """A reader of the run that asks and then takes nothing more than its smallest buffer holds."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(PATIENCE)
    reader.connect(("127.0.0.1", port))
    request = f"GET /v1/streams/{run}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    reader.sendall(request.encode())
    return reader


def rest(reader: socket.socket) -> bytes:
    """Everything that a stuck reader has not taken yet, without the lines that frame the chunks."""
    pieces = []
    while piece := reader.recv(1 << 18):
        pieces.append(piece)
    _, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    content = bytearray()
    at = 0
    while (line_end := body.find(b"\r\n", at)) > 0:
        size = int(body[at:line_end], 16)
        content += body[line_end + 2 : line_end + 2 + size]
        at = line_end + size + 4
    return bytes(content)


def slow(
    sitting: Sitting, *, readers: int = 200, tokens: int = 1600, rate: float = 200.0, pad: int = 1000, look: int = 3
) -> list[Row]:
    """One run with one reader that keeps up, alone and then beside `readers` that take nothing; `look` of these read on
    when it is over, and have to find everything."""
    rows: list[Row] = []
    seconds = tokens / rate
    for count in (0, readers):
        with contextlib.ExitStack() as held, sitting.running(in_process("penstock-slow", TRANSPORTS[0])) as running:
            before_kib = harness.memory_kib(running.pids, "VmRSS")
            asked = order(tokens=tokens, rate=rate, first_ms=1000, pad=pad, stream=STREAM)
            run, _ = asking.begun(running.port, asked)
            sockets = [held.enter_context(stuck(running.port, run)) for _ in range(count)]
            with ThreadPoolExecutor(1) as pool:
                reading = pool.submit(
                    harness.run_load,
                    running.programs,
                    url=EVENTS.format(port=running.port, run=run),
                    body="",
                    end='"type":"finished"',
                    headers=["Accept: text/event-stream"],
                    stream=STREAM,
                    scenario=Scenario(
                        title="fast",
                        streams=1,
                        tokens=tokens,
                        rate=rate,
                        settle_ms=int(1000 + 300 * seconds),
                        limit_ms=int(4000 * seconds) + 30_000,
                    ),
                    cpu_of=running.pids,
                    cpu=sitting.place.load,
                )
                time.sleep(1 + 0.8 * seconds)
                held_kib = harness.memory_kib(running.pids, "VmRSS") - before_kib
                result = reading.result()
            # The first ones to be read are the first that stopped.
            fault = trouble(result)
            for reader in sockets[:look]:
                fault = fault or marks.wrong(rest(reader), stream=STREAM, tokens=tokens)
        steady = result.steady or result.whole
        columns = {
            "CPU µs per token": [1e6 * (steady.cpu_seconds or 0) / max(steady.tokens, 1)],
            "age p99 ms": [(result.age_us.p99 or 0) / 1000],
            "process grew by MiB": [held_kib / 1024],
        }
        if count:
            columns["KiB per stuck reader"] = [(held_kib - 1024 * rows[0].columns["process grew by MiB"][0]) / count]
        rows.append(Row(group="slow", label=f"{count} stuck readers beside one", columns=columns, fault=fault))
        sitting.say(f"slow {count}: {columns} {fault}")
    return rows
