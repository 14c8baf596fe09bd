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
from benchmarks.servers import PENSTOCK
from benchmarks.sitting import Sitting, trouble

LONG_C = msgspec.structs.replace(SCENARIOS["c"], tokens=500)
SHARE = re.compile(r"^\s*([\d.]+)%\s+(\S+)", re.MULTILINE)
COUNT = re.compile(r"^\s*([\d,]+)\s+syscalls:sys_enter_(\w+)", re.MULTILINE)
CALLS = (
    *("epoll_wait", "epoll_pwait", "epoll_ctl", "recvfrom", "recvmsg", "read", "sendto", "sendmsg", "write", "writev"),
    *("getpid", "clock_gettime", "futex", "setsockopt", "accept4", "close", "madvise", "mmap"),
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
    kept["the rest"] = sum(shares.values()) - sum(kept.values())
    return dict(sorted(kept.items(), key=lambda item: -item[1]))


def where(sitting: Sitting, *, scenario: Scenario = LONG_C, seconds: float = 3.0) -> list[Row]:
    """One run of scenario c, somewhat longer: first sampled, then its system calls counted. Needs perf, and root."""
    if shutil.which("perf") is None:
        raise harness.Unavailable("no perf; install it with: apt-get install linux-perf")
    recorded = sitting.out / "perf.data"
    with sitting.running(PENSTOCK) as running, ThreadPoolExecutor(1) as pool:
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
    fault = trouble(result)
    sampled = libraries(perf("report", "-i", str(recorded), "--sort", "dso", "--stdio"))
    rows = [
        Row(group="where", label=name, columns={"% of the server's CPU": [share]}, fault=fault)
        for name, share in sampled.items()
    ]
    # perf takes its time to begin and to end, so it counts for less time than it runs.
    elapsed = re.search(r"([\d.]+) seconds time elapsed", counted)
    tokens = max(per_second * float(elapsed[1]), 1.0) if elapsed else 1.0
    made = {name: int(count.replace(",", "")) / tokens for count, name in COUNT.findall(counted)}
    for name, each in sorted(made.items(), key=lambda item: -item[1]):
        if each >= 0.005:
            rows.append(Row(group="calls", label=name, columns={"calls per token": [each]}, fault=fault))
    return rows
