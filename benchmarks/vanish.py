"""`python -m benchmarks.vanish COUNT`, in a network namespace of its own: cuts the network under COUNT clients of a penstock and
prints the seconds until the last of them was given up. Half of them are in mid-answer, half wait for a first token."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hardening import PATIENCE, asked
from benchmarks.harness import free_port
from benchmarks.servers import ROOT, SOURCE
from benchmarks.source import order


def network(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


def left(log: Path) -> int:
    return log.read_text().count('"reader left"')


def main(count: int) -> float:
    """Raises `TimeoutError` when they are still there after `PATIENCE` seconds."""
    network("up")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port), "--model", SOURCE]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PENSTOCK_SERVER__DRAIN": "0"}
        with log.open("wb") as writing, subprocess.Popen(command, cwd=folder, stderr=writing, env=environ) as server:
            try:
                while b"listening" not in log.read_bytes():
                    time.sleep(0.05)
                readers = []
                for number in range(count):
                    silence = 1000 * int(PATIENCE) * 2 if number % 2 else 0
                    readers.append(asked(port, order(tokens=1_000_000, rate=10, first_ms=silence)))
                    readers[-1].recv(1)
                network("down")
                began = time.monotonic()
                while left(log) < count:
                    if time.monotonic() - began > PATIENCE:
                        raise TimeoutError(f"{count - left(log)} were still there")
                    time.sleep(0.05)
                return time.monotonic() - began
            finally:
                server.kill()


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
