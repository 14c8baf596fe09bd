"""What all measurements of one sitting share: the programs, whose CPU is whose, and servers started for one table."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import harness
from benchmarks.servers import Server


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """One upstream, kept from beginning to end."""

    programs: harness.Programs
    upstream: harness.Upstream
    place: harness.Placement
    out: Path
    rounds: int
    say: Callable[[str], None]
    warm_up: bool = True

    @contextlib.contextmanager
    def running(self, server: Server) -> Iterator[harness.Running]:
        """The server from its start to its end."""
        one = harness.Running(server, self.programs, self.upstream, self.place, self.out / server.name)
        one.start(warm_up=self.warm_up)
        try:
            yield one
        finally:
            one.end()


def until_quiet(pids: list[int], *, patience: float = 30.0) -> None:
    """Waits until the processes do next to nothing. Raises `Unavailable` when they never come to rest."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = harness.cpu_seconds(pids)
        time.sleep(0.2)
        if harness.cpu_seconds(pids) - before < 0.01:
            return
    raise harness.Unavailable(f"the server did not come to rest within {patience:g} s")


def trouble(result: harness.LoadResult) -> str:
    """What went wrong in a run of `load`, in words; empty for nothing."""
    if not result.wrong and not result.failed:
        return ""
    return (
        f"{result.lost} lost, {result.repeated} repeated, {result.reordered} reordered, {result.crossed} crossed; "
        f"{result.failed} of {result.started} streams failed {result.first_failure}"
    )
