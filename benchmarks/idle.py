"""What a silent stream costs: its memory in the server, and the CPU of keeping it alive."""

from __future__ import annotations

from benchmarks import harness
from benchmarks.rows import Row
from benchmarks.scenarios import Scenario
from benchmarks.servers import PENSTOCK, TRANSPORTS, Server, in_process
from benchmarks.sitting import Sitting, trouble

SSE, SOCKET = (next(s for s in TRANSPORTS if s.name == name) for name in ("penstock-sse", "penstock-ws"))
SILENCE_S = 30.0
"""Between the first token and the last; longer than two heartbeats."""
RAMP_MS = 8000


def scenario(streams: int, *, silence: float = SILENCE_S, ramp_ms: int = RAMP_MS) -> Scenario:
    """Each stream says one token, is silent, and says another: that it was alive all the time is checked with it."""
    return Scenario(
        title=f"{streams} idle streams",
        streams=streams,
        tokens=2,
        rate=1 / silence,
        ramp_ms=ramp_ms,
        settle_ms=ramp_ms + ramp_ms // 8,
        limit_ms=int(silence * 1000) + ramp_ms + 30_000,
    )


def measured(sitting: Sitting, server: Server, asked: Scenario, label: str) -> Row:
    with sitting.running(server) as running:
        before_kib = harness.memory_kib(running.pids, "VmRSS")
        harness.forget_peak(running.pids)
        result = running.load(asked)
        peak_kib = harness.memory_kib(running.pids, "VmHWM")
    columns = {
        "KiB per stream": [(peak_kib - before_kib) / asked.streams],
        "process MiB": [peak_kib / 1024],
        "first token p99 ms": [(result.first_us.p99 or 0) / 1000],
    }
    steady = result.steady
    if steady is not None and steady.cpu_seconds is not None:
        columns["CPU % while silent"] = [100 * steady.cpu_seconds / steady.seconds]
        columns["silent s"] = [steady.seconds]
    return Row(group="idle", label=label, columns=columns, fault=trouble(result))


def idle(
    sitting: Sitting, *, streams: int = 10_000, proxied: int = 6_000, silence: float = SILENCE_S, ramp_ms: int = RAMP_MS
) -> list[Row]:
    """`streams` SSE streams and as many WebSockets with the in-process source; `proxied` with the HTTP upstream, where each
    takes two sockets."""
    harness.raise_open_files(max(streams, 2 * proxied) + 1000)
    ways = [
        (in_process("penstock-idle-sse", SSE), streams, "SSE, in-process source"),
        (in_process("penstock-idle-ws", SOCKET), streams, "WebSocket, in-process source"),
        (PENSTOCK, proxied, "SSE, HTTP upstream"),
    ]
    rows = []
    for server, count, label in ways:
        rows.append(
            measured(sitting, server, scenario(count, silence=silence, ramp_ms=ramp_ms), f"{count:,} × {label}")
        )
        sitting.say(
            f"idle {rows[-1].label}: {rows[-1].columns['KiB per stream'][0]:.1f} KiB per stream {rows[-1].fault}"
        )
    return rows
