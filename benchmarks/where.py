"""Where a paced token's CPU time goes: sampled by `perf`, by the library it was in, and its system calls counted by name."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from benchmarks import harness
from benchmarks.rows import Row
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import NGINX, PENSTOCK, Server
from benchmarks.sitting import Sitting, trouble

LONG_C = msgspec.structs.replace(SCENARIOS["c"], tokens=500)
SHARE = re.compile(r"^\s*([\d.]+)%\s+(\S+)", re.MULTILINE)
COUNT = re.compile(r"^\s*([\d,]+)\s+syscalls:sys_enter_(\w+)", re.MULTILINE)
CALLS = (
    *("epoll_wait", "epoll_pwait", "epoll_ctl", "recvfrom", "recvmsg", "read", "sendto", "sendmsg", "write", "writev"),
    *("readv", "getpid", "clock_gettime", "futex", "setsockopt", "accept4", "close", "madvise", "mmap"),
)
WHOSE = {"python3": "Python", "c": "libc", "loop": "uvloop", "parser": "httptools", "_core": "msgspec"}
LEAST = 1.0
"""Percent below which a library is counted with the rest."""


def perf(*arguments: str) -> str:
    """What perf prints, on whichever stream. Raises `Unavailable` where it may not look."""
    done = subprocess.run(["perf", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise harness.Unavailable(f"perf {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout + done.stderr


def named(library: str) -> str:
    """What a shared object is to a reader."""
    if "kernel" in library:
        return "the kernel"
    name = re.split(r"[.\-]", library.strip("[]").removeprefix("lib"))[0]
    return WHOSE.get(name, name)


def libraries(report: str) -> dict[str, float]:
    """Percent of the samples by library, the greatest first, from what `perf report --sort dso` prints."""
    shares: dict[str, float] = {}
    for share, library in SHARE.findall(report):
        shares[named(library)] = shares.get(named(library), 0.0) + float(share)
    kept = {name: share for name, share in shares.items() if share >= LEAST}
    return dict(sorted(kept.items(), key=lambda item: -item[1])) | {
        "the rest": sum(shares.values()) - sum(kept.values())
    }


def observed(
    sitting: Sitting, server: Server, scenario: Scenario, *, seconds: float
) -> tuple[dict[str, float], dict[str, float], str]:
    """One run of the scenario, first sampled, then its system calls counted: percent by library, calls per token by name, and
    what went wrong."""
    recorded = sitting.out / f"{server.name}.perf"
    with sitting.running(server) as running, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(running.load, scenario)
        time.sleep(scenario.settle_ms / 1000 + 0.2)
        pids = ",".join(map(str, running.pids))
        perf(
            "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", str(recorded), "-p", pids, "--", "sleep", f"{seconds}"
        )
        calls = [word for name in CALLS for word in ("-e", f"syscalls:sys_enter_{name}")]
        before, began = running.upstream.stats().tokens, time.monotonic()
        counted = perf("stat", *calls, "-p", pids, "--", "sleep", f"{seconds / 2}")
        per_second = (running.upstream.stats().tokens - before) / (time.monotonic() - began)
        result = loading.result()
    # perf takes its time to begin and to end, so it counts for less time than it runs.
    elapsed = re.search(r"([\d.]+) seconds time elapsed", counted)
    tokens = max(per_second * float(elapsed[1]), 1.0) if elapsed else 1.0
    made = {name: int(count.replace(",", "")) / tokens for count, name in COUNT.findall(counted)}
    shares = libraries(perf("report", "-i", str(recorded), "--sort", "dso", "--stdio"))
    return shares, made, trouble(result)


def where(sitting: Sitting, *, scenario: Scenario = LONG_C, seconds: float = 3.0) -> list[Row]:
    """Scenario c, somewhat longer, on penstock and, where it is installed, on nginx. Needs perf, and root."""
    if shutil.which("perf") is None:
        raise harness.Unavailable("no perf; install it with: apt-get install linux-perf")
    servers = [server for server in (PENSTOCK, NGINX) if not server.missing]
    shares, calls, faults = {}, {}, []
    for server in servers:
        shares[server.name], calls[server.name], fault = observed(sitting, server, scenario, seconds=seconds)
        faults += [f"{server.name}: {fault}"] if fault else []
    return [
        *_rows("where", shares, "% of the CPU time", fault="; ".join(faults)),
        *_rows("calls", calls, "calls per token", fault="; ".join(faults)),
    ]


def _rows(group: str, tables: dict[str, dict[str, float]], unit: str, *, fault: str) -> list[Row]:
    """One row for each label of any server's table; what is too rare to be shown is left out."""
    rows = []
    for label in dict.fromkeys(label for table in tables.values() for label in table):
        columns = {f"{name}, {unit}": [table[label]] for name, table in tables.items() if table.get(label, 0) >= 0.005}
        if columns:
            rows.append(Row(group=group, label=label, columns=columns, fault=fault))
    return rows
