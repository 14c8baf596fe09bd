"""A real `penstock serve` in a process of its own, on a port the system chose, and its log."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import CEILING, until

PENSTOCK = (sys.executable, "-W", "error", "-m", "penstock")
OURS = ("PENSTOCK_", "OPENAI_", "ANTHROPIC_", "MISTRAL_", "GROQ_", "DEEPSEEK_", "OPENROUTER_", "GEMINI_", "OLLAMA_")
HALVES = """
import asyncio
from pathlib import Path


async def answer(request):
    yield "half"
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    yield " and half"
"""
"""A module whose `answer` says half of what it has to say, and the rest once there is a file called `go`."""
UNWANTED = ("PORT", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that configures penstock or a terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS) and name not in UNWANTED}
    return {**kept, **more}


class Served:
    """A running server: where it is, and its log so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path):
        self.process = process
        self.log = log

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every complete line of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def found(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The lines about `event` with these fields."""
        return [
            line
            for line in self.lines
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    @property
    def url(self) -> str:
        return str(self.found("listening")[0]["url"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def logged(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait for a line of the log about `event` with these fields."""
        await until(f"the server has logged {event!r} {fields}", lambda: bool(self.found(event, **fields)))
        return self.found(event, **fields)[0]

    async def ready(self) -> None:
        """Wait until it listens; its own words are the reason where it does not."""
        await until("the server listens or has ended", lambda: bool(self.found("listening")) or self.ended)
        assert not self.ended, self.log.read_text()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait; returns its exit code."""
        if not self.ended:
            self.process.send_signal(how)
        return self.process.wait(CEILING)


@contextmanager
def starting(
    folder: Path,
    *flags: str,
    config: str = "",
    environ: Mapping[str, str] | None = None,
    code: int = 0,
    penstock: Sequence[str] = PENSTOCK,
) -> Iterator[Served]:
    """Serve from `folder`, with `config` as its penstock.toml. At the end it must go when it is asked to, with `code`."""
    (folder / "penstock.toml").write_text(config)
    environment = clean_environment(**{"PENSTOCK_PORT": "0", "PENSTOCK_SERVER__DRAIN": "0", **(environ or {})})
    log = folder / "log"
    with (
        log.open("wb") as writing,
        subprocess.Popen([*penstock, "serve", *flags], cwd=folder, env=environment, stderr=writing) as process,
    ):
        served = Served(process, log)
        try:
            yield served
            assert served.stop() == code, log.read_text()
        finally:
            if not served.ended:
                process.kill()
